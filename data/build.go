// SPDX-License-Identifier: Apache-2.0

package data

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"octet/data/documents"
	"octet/internal/durable"
)

// What prepared data is made of, in a folder:
//
//	octet-data.json            what it was made of, written when all of it is there
//	training/part-000000.u16   ids, little-endian; .u32 where 2 bytes are too few
//	training/part-000000.idx   where each document of the part begins: the number of the id, 8 bytes, little-endian
//	validation/…               the documents that are kept for validation, if a fraction is
//
// Until it is complete it is in a folder of that name and .partial, with the fingerprint of the documents in begun.json and part-000000.json for each
// part that is done.
const (
	preparedVersion = 1
	preparedName    = "octet-data.json"
	begunName       = "begun.json"
	partial         = ".partial"
)

// manifest is what octet-data.json says.
type manifest struct {
	Version     int    `json:"version"`
	Fingerprint string `json:"fingerprint"`
	Width       int    `json:"width"` // bytes of an id
	VocabSize   int    `json:"vocab_size"`
	Parts       int    `json:"parts"`
	Counts
}

// Counts is what documents became.
type Counts struct {
	Training   Count `json:"training"`
	Validation Count `json:"validation"`
	Broken     int   `json:"broken"` // lines that were skipped, or files that are no text
	Empty      int   `json:"empty"`  // texts without a character
}

// Count is one side of them.
type Count struct {
	Documents int64 `json:"documents"`
	Tokens    int64 `json:"tokens"`
}

func (c *Counts) add(more Counts) {
	c.Training.add(more.Training)
	c.Validation.add(more.Validation)
	c.Broken += more.Broken
	c.Empty += more.Empty
}

func (c *Count) add(more Count) {
	c.Documents += more.Documents
	c.Tokens += more.Tokens
}

// of is the count of a side.
func (c *Counts) of(s Section) *Count {
	if s == Validation {
		return &c.Validation
	}
	return &c.Training
}

// sides are those that the corpus has documents for.
func (s *corpus) sides() []Section {
	if s.c.Fraction > 0 && s.options.Format != documents.Text {
		return []Section{Training, Validation}
	}
	return []Section{Training}
}

// build makes the ids of all documents, in a folder that appears when it is complete. It goes on where it was interrupted.
func (s *corpus) build(folder, fingerprint string, progress func(done, all int64)) (made manifest, err error) {
	work := folder + partial
	if err := s.begin(work, fingerprint); err != nil {
		return made, err
	}
	var done atomic.Int64
	all := s.bytes()
	counts := make([]Counts, len(s.parts))
	tell := func(bytes int64) { progress(done.Add(bytes), all) }
	if _, err := each(len(s.parts), func(i int) (err error) {
		mark := filepath.Join(work, partName(i)+".json")
		if counts[i], err = s.doneBefore(work, mark, i); err == nil {
			tell(s.parts[i].bytes)
			return nil
		}
		if counts[i], err = s.buildPart(work, i, tell); err != nil {
			return err
		}
		return writeJSON(mark, counts[i])
	}); err != nil {
		return made, s.files.failed(err)
	}
	made = manifest{Version: preparedVersion, Fingerprint: fingerprint, Width: s.width(), VocabSize: s.vocabSize(), Parts: len(s.parts)}
	for _, c := range counts {
		made.add(c)
	}
	if err := writeJSON(filepath.Join(work, preparedName), made); err != nil {
		return made, err
	}
	for i := range s.parts {
		if err := os.Remove(filepath.Join(work, partName(i)+".json")); err != nil {
			return made, err
		}
	}
	return made, errors.Join(os.Remove(filepath.Join(work, begunName)), os.Rename(work, folder))
}

// begin makes the folder, or finds that it was begun with the same documents.
func (s *corpus) begin(work, fingerprint string) error {
	for _, side := range s.sides() {
		if err := os.MkdirAll(filepath.Join(work, string(side)), 0o777); err != nil {
			return err
		}
	}
	begun, before := filepath.Join(work, begunName), ""
	switch err := readJSON(begun, &before); {
	case isMissing(err):
		return writeJSON(begun, fingerprint)
	case err != nil:
		return err
	case before != fingerprint:
		return fmt.Errorf("data: %s was begun with other documents, or another tokenizer: remove it", work)
	}
	return nil
}

// doneBefore is what a part became before an interruption, if its files are as large as it says.
func (s *corpus) doneBefore(work, mark string, i int) (counts Counts, err error) {
	if err := readJSON(mark, &counts); err != nil {
		return counts, err
	}
	for _, side := range s.sides() {
		c := counts.of(side)
		for path, size := range map[string]int64{s.tokensFile(work, side, i): c.Tokens * int64(s.width()), indexOf(s.tokensFile(work, side, i)): 8 * c.Documents} {
			info, err := os.Stat(path)
			if err != nil {
				return counts, err
			}
			if info.Size() != size {
				return counts, fmt.Errorf("%s has %d bytes, want %d", path, info.Size(), size)
			}
		}
	}
	return counts, nil
}

func partName(i int) string { return fmt.Sprintf("part-%06d", i) }

// tokensFile is the file of a part's ids.
func (s *corpus) tokensFile(folder string, side Section, i int) string {
	return filepath.Join(folder, string(side), fmt.Sprintf("%s.u%d", partName(i), 8*s.width()))
}

// buildPart makes the ids of a part.
func (s *corpus) buildPart(folder string, i int, tell func(bytes int64)) (counts Counts, err error) {
	out := make(map[Section]*writer)
	for _, side := range s.sides() {
		w, err := newWriter(s.tokensFile(folder, side, i), s.width(), counts.of(side))
		if err != nil {
			return counts, err
		}
		defer w.abandon()
		out[side] = w
	}
	encode, ids := s.encoder(), []int32(nil)
	for _, sec := range s.parts[i].sections {
		left, err := sec.Read(s.options, func(text string) error {
			side := Training
			if s.held(text) {
				side = Validation
			}
			ids = encode(ids[:0], text)
			return out[side].document(ids)
		})
		if err != nil {
			return counts, err
		}
		counts.Broken += left.Broken
		counts.Empty += left.Empty
		tell(sec.Bytes)
	}
	for _, w := range out {
		if err := w.finish(); err != nil {
			return counts, err
		}
	}
	return counts, nil
}

// writer writes the ids of documents, and where they begin.
type writer struct {
	path        string
	ids, starts *os.File
	to, index   *bufio.Writer
	width       int
	count       *Count
}

// indexOf is the index beside a file of ids.
func indexOf(path string) string { return path[:len(path)-len(filepath.Ext(path))] + ".idx" }

// temporary is a file that is not complete.
func temporary(path string) string { return path + ".tmp" }

func newWriter(path string, width int, count *Count) (*writer, error) {
	w := &writer{path: path, width: width, count: count}
	var err, errIndex error
	w.ids, err = os.Create(temporary(path))
	w.starts, errIndex = os.Create(temporary(indexOf(path)))
	if err := errors.Join(err, errIndex); err != nil {
		w.abandon()
		return nil, err
	}
	w.to, w.index = bufio.NewWriterSize(w.ids, 1<<20), bufio.NewWriterSize(w.starts, 1<<16)
	return w, nil
}

// document appends one.
func (w *writer) document(ids []int32) error {
	start := binary.LittleEndian.AppendUint64(nil, uint64(w.count.Tokens))
	w.count.Documents++
	w.count.Tokens += int64(len(ids))
	if _, err := w.index.Write(start); err != nil {
		return err
	}
	var raw [4]byte
	for _, id := range ids {
		binary.LittleEndian.PutUint32(raw[:], uint32(id))
		if _, err := w.to.Write(raw[:w.width]); err != nil {
			return err
		}
	}
	return nil
}

// finish gives the files their names, when their contents are on the disk.
func (w *writer) finish() error {
	for _, f := range []struct {
		file *os.File
		to   *bufio.Writer
		path string
	}{{w.starts, w.index, indexOf(w.path)}, {w.ids, w.to, w.path}} {
		err := errors.Join(f.to.Flush(), f.file.Sync(), f.file.Close())
		if err == nil {
			err = os.Rename(temporary(f.path), f.path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// abandon removes what finish has not named.
func (w *writer) abandon() {
	for _, f := range []*os.File{w.ids, w.starts} {
		if f != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}
}

func readJSON(path string, to any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeJSON writes a file that appears when it is complete.
func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "\t")
	if err != nil {
		return err
	}
	return durable.Text(path, append(text, '\n'))
}

// isMissing reports that a file is not there.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
