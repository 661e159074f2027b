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
	"math/bits"
	"slices"
)

// maxHeader is the format's own limit on the bytes of a header.
const maxHeader = 100_000_000

// metadataKey is the one key of a header that names no tensor.
const metadataKey = "__metadata__"

// Info describes one tensor of a file.
type Info struct {
	Name  string
	DType DType
	Shape []int  // empty for a scalar
	File  string // the path of the file that holds it

	begin, end int // its bytes, counted from the end of the header
}

// header is what a file says of itself.
type header struct {
	metadata map[string]string
	tensors  []Info // in the order of their bytes
	size     int    // bytes before the first tensor's data
}

// parseHeader reads the header of a file from its bytes and checks it against their number.
func parseHeader(file []byte) (header, error) {
	if len(file) < 8 {
		return header{}, fmt.Errorf("the file has %d bytes, too few for the 8 that give the header's length", len(file))
	}
	n := binary.LittleEndian.Uint64(file)
	if n > maxHeader {
		return header{}, fmt.Errorf("the header would have %d bytes, more than the format's limit of %d", n, maxHeader)
	}
	if n > uint64(len(file)-8) {
		return header{}, fmt.Errorf("the header has %d bytes, the file only %d after its length: it is cut short", n, len(file)-8)
	}
	h, err := parseJSON(file[8 : 8+n])
	if err != nil {
		return header{}, err
	}
	h.size = 8 + int(n)
	return h, checkLayout(h.tensors, len(file)-h.size)
}

// parseJSON reads the header's object key by key, because a duplicate must be seen and encoding/json would keep the last silently.
func parseJSON(text []byte) (header, error) {
	var h header
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return header{}, errors.New("the header is not a JSON object")
	}
	seen := make(map[string]bool)
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return header{}, fmt.Errorf("header: %w", err)
		}
		name := token.(string) // the decoder accepts only strings as keys
		if seen[name] {
			return header{}, fmt.Errorf("tensor %q is there twice", name)
		}
		seen[name] = true
		if name == metadataKey {
			if err := dec.Decode(&h.metadata); err != nil {
				return header{}, fmt.Errorf("%s: %w", metadataKey, err)
			}
			continue
		}
		info, err := parseInfo(name, dec)
		if err != nil {
			return header{}, fmt.Errorf("tensor %q: %w", name, err)
		}
		h.tensors = append(h.tensors, info)
	}
	if _, err := dec.Token(); err != nil {
		return header{}, fmt.Errorf("header: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return header{}, errors.New("the header goes on after its JSON object")
	}
	return h, nil
}

// parseInfo reads one tensor's entry and checks that its bytes are as many as its shape needs, where its type is known.
func parseInfo(name string, dec *json.Decoder) (Info, error) {
	var entry struct {
		DType   *DType   `json:"dtype"`
		Shape   []uint64 `json:"shape"`
		Offsets []uint64 `json:"data_offsets"`
	}
	if err := dec.Decode(&entry); err != nil {
		return Info{}, err
	}
	switch {
	case entry.DType == nil:
		return Info{}, errors.New("no dtype")
	case entry.Shape == nil:
		return Info{}, errors.New("no shape")
	case len(entry.Offsets) != 2:
		return Info{}, fmt.Errorf("data_offsets has %d numbers, not 2", len(entry.Offsets))
	}
	begin, end := entry.Offsets[0], entry.Offsets[1]
	if begin > end || end > 1<<62 {
		return Info{}, fmt.Errorf("data_offsets [%d, %d] are no range", begin, end)
	}
	info := Info{Name: name, DType: *entry.DType, Shape: make([]int, len(entry.Shape)), begin: int(begin), end: int(end)}
	need := uint64(entry.DType.Size())
	for i, d := range entry.Shape {
		high, low := bits.Mul64(need, d)
		if high != 0 || low > 1<<62 || d > 1<<62 {
			return Info{}, fmt.Errorf("shape %v of %s has more bytes than can be counted", entry.Shape, *entry.DType)
		}
		need, info.Shape[i] = low, int(d)
	}
	// Of a type that this package does not know only the bytes are.
	if entry.DType.Size() > 0 && need != end-begin {
		return Info{}, fmt.Errorf("shape %v of %s needs %d bytes, data_offsets [%d, %d] hold %d", entry.Shape, *entry.DType, need, begin, end, end-begin)
	}
	return info, nil
}

// checkLayout sorts the tensors by their bytes and demands that these follow one another, without gap, up to the end of the data.
func checkLayout(tensors []Info, data int) error {
	slices.SortFunc(tensors, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), cmp.Compare(a.Name, b.Name))
	})
	at, before := 0, ""
	for _, t := range tensors {
		switch {
		case t.end > data:
			return fmt.Errorf("tensor %q: bytes [%d, %d) reach beyond the %d bytes of data in the file: it is cut short", t.Name, t.begin, t.end, data)
		case t.begin < at:
			return fmt.Errorf("tensor %q: bytes [%d, %d) overlap tensor %q, which ends at %d", t.Name, t.begin, t.end, before, at)
		case t.begin > at:
			return fmt.Errorf("tensor %q: bytes [%d, %d) leave a gap after byte %d", t.Name, t.begin, t.end, at)
		}
		at, before = t.end, t.Name
	}
	if at != data {
		return fmt.Errorf("the tensors end at byte %d, the file has %d bytes of data", at, data)
	}
	return nil
}
