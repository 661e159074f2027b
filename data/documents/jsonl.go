// SPDX-License-Identifier: Apache-2.0

package documents

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// lines reads the lines that begin in the section.
func (r *reader) lines() error {
	f, err := os.Open(r.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	plain, err := decompressed(f, filepath.Ext(r.Path))
	if err != nil {
		return fmt.Errorf("%s: %w", r.Path, err)
	}
	defer plain.Close()
	from, end := r.offset, r.offset+r.Bytes
	if filepath.Ext(r.Path) != ".jsonl" {
		end = -1 // all of it
	}
	if from > 0 { // from the byte before on, so that a line which begins with the section is the first
		from--
		if _, err := f.Seek(from, io.SeekStart); err != nil {
			return err
		}
	}
	b := bufio.NewReaderSize(plain, 1<<20)
	at := from // the byte where the next line begins
	line := 0  // its number in the section
	if r.offset > 0 {
		skipped, err := readLine(b)
		at += int64(len(skipped))
		if err != nil {
			return r.ended(err, at, line)
		}
	}
	for end < 0 || at < end {
		text, err := readLine(b)
		if line++; len(text) > 0 {
			if e := r.line(text, at, line); e != nil {
				return e
			}
		}
		at += int64(len(text))
		if err != nil {
			return r.ended(err, at, line)
		}
	}
	return nil
}

// ended is nil at the end of the file.
func (r *reader) ended(err error, at int64, line int) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return r.at(at, line, err)
}

// line reads a line, which begins at a byte of the file.
func (r *reader) line(line []byte, at int64, number int) error {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return nil
	}
	text, err := field(line, r.Field)
	if err != nil && r.SkipBroken {
		r.left.Broken++
		return nil
	}
	if err != nil {
		return r.at(at, number, err)
	}
	return r.text(text)
}

// field is the string of a field of a JSON object.
func field(line []byte, name string) (string, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(line, &object); err != nil {
		return "", fmt.Errorf("no JSON object: %w", err)
	}
	raw, ok := object[name]
	if !ok {
		return "", fmt.Errorf("%w: there is no field %q", errMissing, name)
	}
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil || text == nil {
		return "", fmt.Errorf("%w: the field %q is no string", errMissing, name)
	}
	return *text, nil
}

// at is err with the number of the line, which is counted only now.
func (r *reader) at(at int64, line int, err error) error {
	if r.offset > 0 {
		before, e := countLines(r.Path, at)
		if e != nil {
			return errors.Join(err, e)
		}
		line = before + 1
	}
	return fmt.Errorf("%s: line %d: %w", r.Path, line, err)
}

// countLines is the number of lines that end before a byte of a file.
func countLines(path string, end int64) (lines int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for in := io.LimitReader(f, end); ; {
		n, err := in.Read(buf)
		lines += bytes.Count(buf[:n], []byte("\n"))
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// readLine is the next line with its end. The last may have none, and comes with io.EOF. It may be overwritten by the next.
func readLine(b *bufio.Reader) ([]byte, error) {
	var long []byte
	for {
		part, err := b.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) || len(long) > 0 {
			long = append(long, part...)
			if len(long) > MostBytes {
				return nil, fmt.Errorf("longer than the %d bytes that a line may have", MostBytes)
			}
			part = long
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return part, err
		}
	}
}

// decompressed is what a file holds, by the end of its name.
func decompressed(f *os.File, ext string) (io.ReadCloser, error) {
	switch ext {
	case ".gz":
		return gzip.NewReader(bufio.NewReaderSize(f, 1<<20))
	case ".zst":
		d, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MostBytes))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(f), nil
}
