// SPDX-License-Identifier: Apache-2.0

package data

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"octet/data/documents"
	"octet/tokenizer"
)

// corpus is documents that become ids once, before they are read at positions: all but bytes and tokens.
type corpus struct {
	c         Config
	files     *Source // where they are; only its list and fingerprint are used
	options   documents.Options
	tokenizer *tokenizer.Tokenizer // nil: ids are bytes, and a zero byte ends a document
	sections  []documents.Section
	parts     []part // of all sections, in their order
}

// part is sections that one goroutine makes into ids, and that lie in one file.
type part struct {
	sections []documents.Section
	bytes    int64
}

// partBytes is how much of the corpus becomes a part, at least, unless the corpus ends.
const partBytes = documents.SectionBytes

// prepared reports whether the data of c becomes ids once, and is then read as they are.
func (c Config) prepared() bool {
	switch c.Dataset {
	case "jsonl", "parquet":
		return true
	case "text", "gosource":
		return c.Assets != ""
	}
	return false
}

// openCorpus lists the files, looks into those that say what they hold, and reads the tokenizer.
func openCorpus(c Config) (*corpus, error) {
	s := &corpus{c: c, options: documents.Options{Format: documents.Text, Field: cmp.Or(c.Field, "text"), SkipBroken: c.SkipBroken}}
	if c.Dataset == "jsonl" || c.Dataset == "parquet" {
		s.options.Format = documents.Format(c.Dataset)
	}
	if c.Assets != "" {
		var err error
		if s.tokenizer, err = tokenizer.Open(c.Assets); err != nil {
			return nil, fmt.Errorf("data: model.hf_assets_path = %q: %w", c.Assets, err)
		}
	}
	if size := s.vocabSize(); c.VocabSize < size {
		what := "the ids of dataset " + c.Dataset + " without model.hf_assets_path are bytes"
		if s.tokenizer != nil {
			what = fmt.Sprintf("the tokenizer of model.hf_assets_path = %q has %d ids", c.Assets, size)
		}
		return nil, fmt.Errorf("data: %s, but model.args.vocab_size is %d: it must be at least %d", what, c.VocabSize, size)
	}
	if err := s.list(); err != nil {
		return nil, err
	}
	s.cut(partBytes)
	return s, nil
}

// list lists the files and their sections.
func (s *corpus) list() (err error) {
	if s.files, err = s.c.list(); err != nil {
		return err
	}
	for _, f := range s.files.files {
		sections, err := documents.Sections(f.path, f.size, s.options)
		if err != nil {
			return s.files.failed(err)
		}
		s.sections = append(s.sections, sections...)
	}
	return nil
}

// cut joins sections into parts of so many bytes, at least.
func (s *corpus) cut(partBytes int64) {
	s.parts = nil
	for _, sec := range s.sections {
		if n := len(s.parts); n == 0 || s.parts[n-1].bytes >= partBytes {
			s.parts = append(s.parts, part{})
		}
		last := &s.parts[len(s.parts)-1]
		last.sections = append(last.sections, sec)
		last.bytes += sec.Bytes
	}
}

// vocabSize is the highest id and one.
func (s *corpus) vocabSize() int {
	if s.tokenizer == nil {
		return 256
	}
	return s.tokenizer.VocabSize()
}

// width is the bytes of an id.
func (s *corpus) width() int {
	if s.vocabSize() > math.MaxUint16+1 {
		return 4
	}
	return 2
}

// bytes is the work there is.
func (s *corpus) bytes() (all int64) {
	for _, p := range s.parts {
		all += p.bytes
	}
	return all
}

// encoder returns what appends the ids of a document.
func (s *corpus) encoder() func(ids []int32, text string) []int32 {
	if s.tokenizer != nil {
		return s.tokenizer.NewEncoder().AppendDocument
	}
	return func(ids []int32, text string) []int32 {
		for i := range len(text) {
			ids = append(ids, int32(text[i]))
		}
		return append(ids, separator)
	}
}

// held reports whether a text is kept for validation: it is on the same side wherever it stands, so that no copy of it is on both.
func (s *corpus) held(text string) bool {
	return s.options.Format != documents.Text && held(text, s.c.Fraction)
}

// held reports whether a text, or a file's name, is of the fraction that is kept for validation.
func held(text string, fraction float64) bool {
	if fraction == 0 {
		return false
	}
	sum := sha256.Sum256([]byte(text))
	return float64(binary.LittleEndian.Uint64(sum[:]))/(1<<64) < fraction
}

// meaning is all but the contents that ids depend on.
func (s *corpus) meaning() string {
	kind := "bytes"
	if s.tokenizer != nil {
		kind = s.tokenizer.Fingerprint()
	}
	return fmt.Sprintf("octet prepared data, version %d\n%s %q %v %v\n%s\n", preparedVersion, s.options.Format, s.options.Field, s.options.SkipBroken, s.c.Fraction, kind)
}

// fingerprint is a SHA-256 of all that the ids depend on. It reads every byte.
func (s *corpus) fingerprint(progress func(read, all int64)) (string, error) {
	contents, err := s.files.fingerprint(progress)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(s.meaning()+contents))), nil
}

// signature is a SHA-256 of what the file system says of the files, which changes whenever the contents do: a short way to a fingerprint that is
// known.
func (s *corpus) signature() (string, error) {
	var b strings.Builder
	b.WriteString(s.meaning())
	for _, f := range s.files.files {
		path, err := filepath.Abs(f.path)
		if err != nil {
			return "", err
		}
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		fmt.Fprintf(&b, "%q %q %d %d %d %d %d\n", path, f.rel, st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(b.String()))), nil
}
