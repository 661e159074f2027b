// SPDX-License-Identifier: Apache-2.0

package data

import (
	"cmp"
	"fmt"
	"os"
	"sort"
	"strings"

	"octet/data/documents"
)

// Source is a long row of token ids that lies in files, each file's ids after those of the file before. Only the list of the files is in
// memory: ids are read where they are asked for. It must not be used from several goroutines at once.
type Source struct {
	root    string
	files   []file
	ends    []int64 // for each file the position after its last id, and after the separator that follows
	width   int64   // bytes of an id: 1, 2 or 4
	between int64   // separators between two files: 1 for text
	vocab   int
	dataset string
	field   string // of the user's configuration that names the files
	leftOut leftOut
	made    *made // of documents; nil: the files are the user's

	open *os.File // files[at], left open for the next read; nil before the first
	at   int
	raw  []byte // the bytes of one read
}

// separator is the id between two files of text, which no text has in it.
const separator = 0

// leftOut counts what a data set of documents does not read.
type leftOut struct{ hidden, noText, broken, empty int }

func (l leftOut) String() string {
	var parts []string
	for _, of := range []struct {
		count int
		what  string
	}{{l.hidden, "hidden"}, {l.noText, "not UTF-8 text"}, {l.broken, "broken lines"}, {l.empty, "empty texts"}} {
		if of.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", of.count, of.what))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return ", left out: " + strings.Join(parts, ", ")
}

// OpenSource lists the files of the data set that c names, and reads those of text once to know that they are. Documents that become ids first
// are made into them, unless that was done already.
func OpenSource(c Config) (*Source, error) {
	if c.prepared() {
		return openPrepared(c, func(string, int64, int64) {})
	}
	s, err := c.list()
	if err != nil {
		return nil, err
	}
	if c.Dataset == "text" {
		s.between = 1
		if err = s.dropBinaries(); err == nil && len(s.files) == 0 {
			err = fmt.Errorf("no file of UTF-8 text with anything in it%v", s.leftOut)
		}
	}
	if err == nil {
		err = s.index(c.Dataset == "tokens")
	}
	if err != nil {
		return nil, s.failed(err)
	}
	if s.width == 1 && s.vocab < 256 {
		return nil, fmt.Errorf("data: the ids of dataset %s are bytes, but model.args.vocab_size is %d: it must be at least 256", c.Dataset, s.vocab)
	}
	return s, nil
}

// list lists the files, of which there is at least one.
func (c Config) list() (*Source, error) {
	s := &Source{root: c.Path, width: 1, vocab: c.VocabSize, dataset: c.Dataset, field: c.field("dataset_path")}
	find, kind := listing{keep: everyFile}, "file of UTF-8 text"
	switch c.Dataset {
	case "text":
		if c.Fraction > 0 {
			find.keep = func(rel string) bool { return held(rel, c.Fraction) == (c.Section == Validation) }
			kind = fmt.Sprintf("%s for %s (validation.fraction = %g goes by the names of files)", kind, cmp.Or(c.Section, Training), c.Fraction)
		}
	case "jsonl":
		find.keep, kind = documents.JSONL.Keeps, ".jsonl, .jsonl.gz or .jsonl.zst file"
	case "parquet":
		find.keep, kind = documents.Parquet.Keeps, ".parquet file"
	case "tokens":
		find, kind = listing{keep: tokenFiles, hidden: true}, ".u16 or .u32 file"
	case "gosource":
		find, kind = listing{keep: goFiles(c.Section == Validation), hidden: true}, ".go file"
		if c.Path == "" {
			var err error
			if s.root, err = goSourceTree(); err != nil {
				return nil, fmt.Errorf("data: %s = gosource reads Go's own source code, which was not found (%w): install Go, or set %s to a folder of .go files",
					c.field("dataset"), err, s.field)
			}
		}
	default:
		return nil, fmt.Errorf("data: %s = %q is none of gosource, text, jsonl, parquet, tokens", c.field("dataset"), c.Dataset)
	}
	err := find.list(s.root)
	s.files, s.leftOut.hidden = find.files, find.skipped
	if err == nil && len(s.files) == 0 {
		err = fmt.Errorf("no %s with anything in it%v", kind, s.leftOut)
	}
	if err != nil {
		return nil, s.failed(err)
	}
	return s, nil
}

// failed says of which data set err is.
func (s *Source) failed(err error) error {
	return fmt.Errorf("data: %s = %q for dataset %s: %w", s.field, s.root, s.dataset, err)
}

// index finds the width of the ids from the files' names and the positions from their sizes.
func (s *Source) index(tokens bool) error {
	if tokens {
		s.width = idWidth(s.files[0].path)
	}
	end := int64(0)
	for i, f := range s.files {
		if tokens && idWidth(f.path) != s.width {
			return fmt.Errorf("%s and %s hold ids of different widths", s.files[0].path, f.path)
		}
		if f.size%s.width != 0 {
			return fmt.Errorf("%s has %d bytes, which are no whole number of %d-byte ids", f.path, f.size, s.width)
		}
		if i > 0 {
			end += s.between
			s.ends[i-1] = end
		}
		end += f.size / s.width
		s.ends = append(s.ends, end)
	}
	return nil
}

// Len is the number of ids.
func (s *Source) Len() int64 { return s.ends[len(s.ends)-1] }

// String is the file or folder.
func (s *Source) String() string { return s.root }

// Summary says how much there is, and what was left out.
func (s *Source) Summary() string {
	if s.made != nil {
		return fmt.Sprintf("%d tokens in %d documents%v", s.Len(), s.made.documents, s.leftOut)
	}
	return fmt.Sprintf("%d tokens in %d files%v", s.Len(), len(s.files), s.leftOut)
}

// Read fills dst with the ids at pos, pos+1, …, which must all be there. An id outside the model's vocabulary is an error.
func (s *Source) Read(dst []int32, pos int64) error {
	if pos < 0 || pos+int64(len(dst)) > s.Len() {
		panic(fmt.Sprintf("data: ids %d to %d of %s, which holds %d", pos, pos+int64(len(dst)), s.root, s.Len()))
	}
	i := sort.Search(len(s.ends), func(i int) bool { return s.ends[i] > pos })
	for ; len(dst) > 0; i++ {
		start := int64(0)
		if i > 0 {
			start = s.ends[i-1]
		}
		ids := s.files[i].size / s.width
		if n := min(int64(len(dst)), start+ids-pos); n > 0 {
			if err := s.readFile(dst[:n], i, pos-start); err != nil {
				return fmt.Errorf("data: %s: %w", s.files[i].path, err)
			}
			dst, pos = dst[n:], pos+n
		}
		for ; len(dst) > 0 && pos < s.ends[i]; pos++ {
			dst[0], dst = separator, dst[1:]
		}
	}
	return nil
}

// readFile fills dst with the ids of file i from its id first on.
func (s *Source) readFile(dst []int32, i int, first int64) error {
	if err := s.openFile(i); err != nil {
		return err
	}
	n := len(dst) * int(s.width)
	if cap(s.raw) < n {
		s.raw = make([]byte, n)
	}
	raw := s.raw[:n]
	if got, err := s.open.ReadAt(raw, first*s.width); got < n {
		return s.short(i, first*s.width+int64(got), err)
	}
	for j := range dst {
		id := idAt(raw, s.width, j)
		if uint64(id) >= uint64(s.vocab) {
			return s.outside(id, first+int64(j))
		}
		dst[j] = int32(id)
	}
	return nil
}

func (s *Source) outside(id uint32, position int64) error {
	return fmt.Errorf("id %d at position %d is outside the vocabulary of %d (model.args.vocab_size)", id, position, s.vocab)
}

// openFile makes file i the open one.
func (s *Source) openFile(i int) error {
	if s.open != nil && s.at == i {
		return nil
	}
	if err := s.Close(); err != nil {
		return err
	}
	var err error
	s.open, err = os.Open(s.files[i].path)
	if err != nil {
		s.open = nil
		return err
	}
	s.at = i
	return nil
}

// Close closes the file that the last read left open.
func (s *Source) Close() error {
	if s.open == nil {
		return nil
	}
	err := s.open.Close()
	s.open = nil
	return err
}
