// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"octet/internal/durable"
)

// Tensor is one tensor to be written.
type Tensor struct {
	Name  string
	DType DType
	Shape []int
	Data  []byte // little-endian, row-major
}

// Write makes the file at path of the tensors and the metadata. It writes a temporary file in the same folder, brings it to the disk
// and renames it: after a crash there is the old file or the new one, never a part. The bytes depend only on the arguments' values, not on
// the order of the tensors, and are those that the reference implementation writes.
func Write(path string, metadata map[string]string, tensors []Tensor) error {
	head, sorted, err := Header(metadata, tensors)
	for _, t := range sorted {
		if n := t.Bytes(); err == nil && n != len(t.Data) {
			err = fmt.Errorf("tensor %q: shape %v of %s needs %d bytes, there are %d", t.Name, t.Shape, t.DType, n, len(t.Data))
		}
	}
	if err != nil {
		return fmt.Errorf("safetensors: write %s: %w", path, err)
	}
	err = durable.Write(path, func(w io.Writer) error {
		if _, err := w.Write(head); err != nil {
			return err
		}
		for _, t := range sorted {
			if _, err := w.Write(t.Data); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = durable.Folder(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("safetensors: write %s: %w", path, err)
	}
	return nil
}

// Header is the beginning of a file, and the tensors in the order in which their bytes follow it, for who writes these piece by piece. It
// does not look at Data.
func Header(metadata map[string]string, tensors []Tensor) (head []byte, sorted []Tensor, err error) {
	sorted = slices.SortedFunc(slices.Values(tensors), func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(b.DType.order(), a.DType.order()), cmp.Compare(a.Name, b.Name))
	})
	head, err = makeHeader(metadata, sorted)
	return head, sorted, err
}

// makeHeader is the length and the JSON, padded with spaces so that the data starts at a multiple of 8.
func makeHeader(metadata map[string]string, tensors []Tensor) ([]byte, error) {
	out := bytes.NewBuffer(make([]byte, 8)) // the length comes last
	out.WriteByte('{')
	comma := ""
	field := func(key string, value any) error {
		out.WriteString(comma)
		comma = ","
		if err := writeJSON(out, key); err != nil {
			return err
		}
		out.WriteByte(':')
		return writeJSON(out, value)
	}
	if metadata != nil {
		if err := field(metadataKey, metadata); err != nil {
			return nil, err
		}
	}
	at, seen := 0, make(map[string]bool, len(tensors))
	for _, t := range tensors {
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if seen[t.Name] {
			return nil, fmt.Errorf("tensor %q is there twice", t.Name)
		}
		seen[t.Name] = true
		entry := struct {
			DType   DType  `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets [2]int `json:"data_offsets"`
		}{t.DType, append([]int{}, t.Shape...), [2]int{at, at + t.Bytes()}}
		if err := field(t.Name, entry); err != nil {
			return nil, err
		}
		at += t.Bytes()
	}
	out.WriteByte('}')
	for out.Len()%8 != 0 {
		out.WriteByte(' ')
	}
	n := out.Len() - 8
	if n > maxHeader {
		return nil, fmt.Errorf("a header of %d bytes is more than the format's limit of %d", n, maxHeader)
	}
	binary.LittleEndian.PutUint64(out.Bytes(), uint64(n))
	return out.Bytes(), nil
}

// writeJSON appends v without a line's end and without HTML's escapes.
func writeJSON(out *bytes.Buffer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	out.Truncate(out.Len() - 1)
	return nil
}

// Bytes is the size of the data.
func (t Tensor) Bytes() int {
	n := t.DType.Size()
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

func (t Tensor) check() error {
	if t.DType.Size() == 0 {
		return fmt.Errorf("unknown dtype %q", t.DType)
	}
	if t.Name == metadataKey {
		return errors.New("the name is the format's own")
	}
	if len(t.Shape) > 0 && slices.Min(t.Shape) < 0 {
		return fmt.Errorf("shape %v has a negative size", t.Shape)
	}
	return nil
}
