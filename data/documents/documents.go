// SPDX-License-Identifier: Apache-2.0

// Package documents reads texts one by one out of files: JSON lines, plain or compressed, Parquet as in Hugging Face's data sets, and files
// that are one text each.
//
// A file is read in sections, each alone and in any order: so much of a file of lines, a row group of a Parquet file, or a whole file where
// nothing less can be read. [Sections] lists them, and finds early what is wrong with a file as a whole; [Section.Read] has the texts.
package documents

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// Format is how texts lie in a file.
type Format string

// The formats.
const (
	JSONL   Format = "jsonl"   // an object a line, UTF-8; .jsonl, .jsonl.gz, .jsonl.zst
	Parquet Format = "parquet" // a row a text; .parquet
	Text    Format = "text"    // the file is the text, UTF-8 without a zero byte
)

// Keeps reports whether a file of this name is read.
func (f Format) Keeps(name string) bool {
	switch f {
	case JSONL:
		return slices.ContainsFunc([]string{".jsonl", ".jsonl.gz", ".jsonl.zst"}, func(end string) bool { return strings.HasSuffix(name, end) })
	case Parquet:
		return strings.HasSuffix(name, ".parquet")
	}
	return true
}

// Options say what of a file is a text.
type Options struct {
	Format Format
	Field  string // of an object or row
	// SkipBroken leaves out lines that are no object with the field, and counts them; else the first of them is an error.
	SkipBroken bool
}

// SectionBytes is the most of a file of lines in one section.
const SectionBytes = 64 << 20

// MostBytes is the longest line and the longest text, which are in memory as a whole.
const MostBytes = 1 << 30

// Section is a part of a file that is read alone. The texts of a file are those of its sections, in their order.
type Section struct {
	Path   string
	Bytes  int64 // of the file or, in a Parquet file, of the column: a measure of work
	offset int64 // of the file, for lines: those that begin in [offset, offset+Bytes)
	group  int   // of a Parquet file
}

// Sections are the parts of a file of so many bytes. Of a Parquet file it reads the schema, and refuses one without the field.
func Sections(path string, bytes int64, o Options) ([]Section, error) {
	switch {
	case o.Format == Parquet:
		return rowGroups(path, o.Field)
	case o.Format == JSONL && filepath.Ext(path) == ".jsonl":
		var all []Section
		for at := int64(0); at < bytes; at += SectionBytes {
			all = append(all, Section{Path: path, offset: at, Bytes: min(SectionBytes, bytes-at)})
		}
		return all, nil
	}
	return []Section{{Path: path, Bytes: bytes}}, nil
}

// Left counts what a section has beside texts: what is left out.
type Left struct {
	Broken int // lines, if they are skipped; files that are no text
	Empty  int // texts without a character, or rows without a text
}

// Read calls use with one text after the other. Its error names the file and the line or row, unless it is use's.
func (s Section) Read(o Options, use func(text string) error) (left Left, err error) {
	r := reader{Section: s, Options: o, use: use}
	switch o.Format {
	case JSONL:
		err = r.lines()
	case Parquet:
		err = r.rows()
	default:
		err = r.file()
	}
	return r.left, err
}

// reader is a section that is being read.
type reader struct {
	Section
	Options
	use  func(text string) error
	left Left
}

// text hands over a text that is not empty.
func (r *reader) text(text string) error {
	if text == "" {
		r.left.Empty++
		return nil
	}
	return r.use(text)
}

// file reads a file that is one text.
func (r *reader) file() error {
	f, err := os.Open(r.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, MostBytes+1))
	if err != nil {
		return err
	}
	if len(raw) > MostBytes {
		return fmt.Errorf("%s: longer than the %d bytes that a text may have; cut it, or make it lines of JSON", r.Path, MostBytes)
	}
	text := string(raw)
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		r.left.Broken++
		return nil
	}
	return r.text(text)
}

// errMissing is a line or row without the text.
var errMissing = errors.New("no text")
