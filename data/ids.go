// SPDX-License-Identifier: Apache-2.0

package data

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// idWidth is how many bytes an id has in a file of ids, by its name; 0: it is none.
func idWidth(path string) int64 {
	switch filepath.Ext(path) {
	case ".u16":
		return 2
	case ".u32":
		return 4
	}
	return 0
}

// IsIDs reports whether a file is one of ids, by its name.
func IsIDs(path string) bool { return idWidth(path) > 0 }

// idAt is id number j of raw, whose ids have width bytes.
func idAt(raw []byte, width int64, j int) uint32 {
	switch width {
	case 1:
		return uint32(raw[j])
	case 2:
		return uint32(binary.LittleEndian.Uint16(raw[2*j:]))
	}
	return binary.LittleEndian.Uint32(raw[4*j:])
}

// ReadDocuments calls each with the ids of every document of a file of prepared ids, in order. An error of each ends it, and is returned with
// the document's number.
func ReadDocuments(path string, each func(ids []int32) error) error {
	starts, err := ReadIndex(path)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	width := idWidth(path)
	in := bufio.NewReaderSize(f, 1<<20)
	for i, start := range starts {
		end := info.Size() / width
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		raw := make([]byte, (end-start)*width)
		if _, err := io.ReadFull(in, raw); err != nil {
			return fmt.Errorf("%s: document %d: %w", path, i, err)
		}
		ids := make([]int32, end-start)
		for j := range ids {
			ids[j] = int32(idAt(raw, width, j))
		}
		if err := each(ids); err != nil {
			return fmt.Errorf("%s: document %d: %w", path, i, err)
		}
	}
	return nil
}
