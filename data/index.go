// SPDX-License-Identifier: Apache-2.0

package data

import (
	"encoding/binary"
	"fmt"
	"os"
)

// ReadIndex reads where the documents of a file of prepared ids begin: the numbers of ids of the file beside it, .idx, which rise from 0 on.
func ReadIndex(path string) (starts []int64, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	width := idWidth(path)
	if width == 0 {
		return nil, fmt.Errorf("%s is neither .u16 nor .u32", path)
	}
	index := indexOf(path)
	raw, err := os.ReadFile(index)
	if err != nil {
		return nil, err
	}
	if len(raw)%8 != 0 {
		return nil, fmt.Errorf("%s has %d bytes, which are no whole number of 8-byte starts", index, len(raw))
	}
	ids, before := uint64(info.Size()/width), uint64(0)
	for i := range len(raw) / 8 {
		at := binary.LittleEndian.Uint64(raw[8*i:])
		if at > ids || at < before || i == 0 && at != 0 {
			return nil, fmt.Errorf("%s: document %d begins at %d, want a number from %d to %d", index, i, at, before, ids)
		}
		starts, before = append(starts, int64(at)), at
	}
	return starts, nil
}
