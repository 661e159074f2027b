// SPDX-License-Identifier: Apache-2.0

package data

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
)

// Source is a long row of token ids that lies in files, each file's ids after those of the file before. Only the list of the files is in
// memory: ids are read where they are asked for. It must not be used from several goroutines at once.
type Source struct {
	root  string
	files []file
	ends  []int64 // for each file the position after its last id
	width int64   // bytes of an id: 1, 2 or 4
	vocab int

	open *os.File // files[at], left open for the next read; nil before the first
	at   int
	raw  []byte // the bytes of one read
}

// OpenSource lists the files of the data set that c names.
func OpenSource(c Config) (*Source, error) {
	s := &Source{root: c.Path, width: 1, vocab: c.VocabSize}
	keep, kind := everyFile, "file"
	switch c.Dataset {
	case "text":
	case "tokens":
		keep, kind = tokenFiles, ".u16 or .u32 file"
	case "gosource":
		keep, kind = goFiles(c.Validation), ".go file"
		if c.Path == "" {
			var err error
			if s.root, err = goSourceTree(); err != nil {
				return nil, fmt.Errorf("data: %s = gosource reads Go's own source code, which was not found (%w): install Go, or set %s to a folder of .go files",
					c.field("dataset"), err, c.field("dataset_path"))
			}
		}
	default:
		return nil, fmt.Errorf("data: %s = %q is none of gosource, text, tokens", c.field("dataset"), c.Dataset)
	}
	var err error
	s.files, err = list(s.root, keep)
	if err == nil && len(s.files) == 0 {
		err = fmt.Errorf("no %s with anything in it", kind)
	}
	if err == nil {
		err = s.index(c.Dataset == "tokens")
	}
	if err != nil {
		return nil, fmt.Errorf("data: %s = %q for dataset %s: %w", c.field("dataset_path"), s.root, c.Dataset, err)
	}
	if s.width == 1 && s.vocab < 256 {
		return nil, fmt.Errorf("data: the ids of dataset %s are bytes, but model.args.vocab_size is %d: it must be at least 256", c.Dataset, s.vocab)
	}
	return s, nil
}

// index finds the width of the ids from the files' names and the positions from their sizes.
func (s *Source) index(tokens bool) error {
	if tokens {
		s.width = 2
		if filepath.Ext(s.files[0].path) == ".u32" {
			s.width = 4
		}
	}
	end := int64(0)
	for _, f := range s.files {
		if tokens && filepath.Ext(f.path) != filepath.Ext(s.files[0].path) {
			return fmt.Errorf("%s and %s hold ids of different widths", s.files[0].path, f.path)
		}
		if f.size%s.width != 0 {
			return fmt.Errorf("%s has %d bytes, which are no whole number of %d-byte ids", f.path, f.size, s.width)
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

// Read fills dst with the ids at pos, pos+1, …, which must all be there. An id outside the model's vocabulary is an error.
func (s *Source) Read(dst []int32, pos int64) error {
	if pos < 0 || pos+int64(len(dst)) > s.Len() {
		panic(fmt.Sprintf("data: ids %d to %d of %s, which holds %d", pos, pos+int64(len(dst)), s.root, s.Len()))
	}
	i := sort.Search(len(s.ends), func(i int) bool { return s.ends[i] > pos })
	for ; len(dst) > 0; i++ {
		n := min(int64(len(dst)), s.ends[i]-pos)
		if err := s.readFile(dst[:n], i, pos-(s.ends[i]-s.files[i].size/s.width)); err != nil {
			return fmt.Errorf("data: %s: %w", s.files[i].path, err)
		}
		dst, pos = dst[n:], pos+n
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
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("it had %d bytes when it was listed, now it ends at %d", s.files[i].size, first*s.width+int64(got))
		}
		return err
	}
	for j := range dst {
		var id uint32
		switch s.width {
		case 1:
			id = uint32(raw[j])
		case 2:
			id = uint32(binary.LittleEndian.Uint16(raw[2*j:]))
		case 4:
			id = binary.LittleEndian.Uint32(raw[4*j:])
		}
		if uint64(id) >= uint64(s.vocab) {
			return fmt.Errorf("id %d at position %d is outside the vocabulary of %d (model.args.vocab_size)", id, first+int64(j), s.vocab)
		}
		dst[j] = int32(id)
	}
	return nil
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
