// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"

	"octet/checkpoint/safetensors"
	"octet/dtensor"
)

// IndexName is the file that makes a folder a checkpoint. It is written last.
const IndexName = "index.json"

// format is the version of what is written.
const format = 1

// Run is what a checkpoint says of the run that wrote it.
type Run struct {
	Step         int    `json:"step"`          // steps done
	ScheduleStep int    `json:"schedule_step"` // of which the learning rate's curve has counted so many
	Tokens       int64  `json:"tokens"`        // trained on, by all ranks
	Seed         uint64 `json:"seed"`
	Job          string `json:"job"` // that wrote it, the same for all its attempts
	// ModelOnly: there are weights alone, with which no run goes on.
	ModelOnly bool            `json:"model_only"`
	Model     json.RawMessage `json:"model"`  // an object: the sizes of the model
	Config    string          `json:"config"` // resolved, as TOML
	Data      Data            `json:"data"`
}

// Data is the place in the training data, one for all ranks.
type Data struct {
	Position    uint64 `json:"position"` // samples read
	SeqLen      int    `json:"seq_len"`
	Fingerprint string `json:"fingerprint"` // of the contents
}

// Index is the table of a checkpoint: what it is of, and where everything lies.
type Index struct {
	Format int `json:"format"`
	Run
	ConfigSHA256 string            `json:"config_sha256"`
	Mesh         []dtensor.Axis    `json:"mesh"`  // of the ranks that wrote, for people
	Files        map[string]File   `json:"files"` // by name
	Tensors      map[string]Tensor `json:"tensors"`
}

// File is a safetensors file of the checkpoint.
type File struct {
	Size         int64  `json:"size"`   // bytes
	Header       int64  `json:"header"` // of which so many come before the data
	HeaderCRC32C CRC    `json:"header_crc32c"`
	SHA256       string `json:"sha256"` // of all
}

// Tensor is one tensor, in parts that tile it.
type Tensor struct {
	Shape []int             `json:"shape"`
	DType safetensors.DType `json:"dtype"`
	Parts []Part            `json:"parts"`
}

// Part is a box of a tensor, and its bytes in a file.
type Part struct {
	dtensor.Box
	File   string `json:"file"`
	Begin  int64  `json:"begin"`
	End    int64  `json:"end"`
	CRC32C CRC    `json:"crc32c"`
}

// Bytes is the size of all parts together.
func (t Tensor) Bytes() int64 { return int64(dtensor.Whole(t.Shape).Numel() * t.DType.Size()) }

// CRC is a sum with the polynomial of Castagnoli, which processors compute; eight
// hexadecimal digits in JSON.
type CRC uint32

// MarshalText is the digits.
func (c CRC) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%08x", uint32(c)), nil }

// UnmarshalText takes what MarshalText gives.
func (c *CRC) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 16, 32)
	if err != nil || len(text) != 8 {
		return fmt.Errorf("%q is no crc32c of eight hexadecimal digits", text)
	}
	*c = CRC(v)
	return nil
}

func crcTable() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func crcOf(data []byte) CRC { return CRC(crc32.Checksum(data, crcTable())) }

// tail is how an index ends: with the sum of all before.
func tail(before []byte) []byte {
	return fmt.Appendf(nil, ",\"crc32c\":\"%08x\"}\n", uint32(crcOf(before)))
}

// encode is the index as a file.
func (x *Index) encode() ([]byte, error) {
	text, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	before := text[:len(text)-1]
	return append(before, tail(before)...), nil
}

// decode reads and checks an index. A byte that was changed is found.
func decode(text []byte) (*Index, error) {
	n := len(text) - len(tail(nil))
	if n < 1 || !bytes.Equal(text[n:], tail(text[:n])) {
		return nil, errors.New("its last field is not the crc32c of all before: a byte was changed, or it is cut short")
	}
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(text, &version); err != nil {
		return nil, err
	}
	if version.Format != format {
		return nil, fmt.Errorf("format = %d: this octet reads format %d", version.Format, format)
	}
	dec := json.NewDecoder(io.MultiReader(bytes.NewReader(text[:n]), bytes.NewReader([]byte("}"))))
	dec.DisallowUnknownFields()
	var x Index
	if err := dec.Decode(&x); err != nil {
		return nil, err
	}
	return &x, x.check()
}

// check finds an index that no writer makes: it is what is read by.
func (x *Index) check() error {
	for name, f := range x.Files {
		if name != filepath.Base(name) || f.Header < 8 || f.Header > f.Size {
			return fmt.Errorf("files: %q: a header of %d bytes in %d", name, f.Header, f.Size)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(x.Tensors)) {
		if err := x.checkTensor(x.Tensors[name]); err != nil {
			return fmt.Errorf("tensors: %s: %w", name, err)
		}
	}
	return nil
}

// mostElements bounds a shape, so that no product of sizes overflows.
const mostElements = 1 << 56

func (x *Index) checkTensor(t Tensor) error {
	if t.DType.Size() == 0 {
		return fmt.Errorf("unknown dtype %q", t.DType)
	}
	left := mostElements
	for _, d := range t.Shape {
		if d < 0 || d > left {
			return fmt.Errorf("shape %v", t.Shape)
		}
		left /= max(1, d)
	}
	for _, p := range t.Parts {
		if len(p.Lo) != len(t.Shape) || len(p.Hi) != len(t.Shape) {
			return fmt.Errorf("the part %v of shape %v", p.Box, t.Shape)
		}
		for i, lo := range p.Lo {
			if lo < 0 || lo >= p.Hi[i] || p.Hi[i] > t.Shape[i] {
				return fmt.Errorf("the part %v is not inside shape %v", p.Box, t.Shape)
			}
		}
		f, ok := x.Files[p.File]
		if !ok {
			return fmt.Errorf("the part %v is in %q, which is not among the files", p.Box, p.File)
		}
		if p.Begin < f.Header || p.End > f.Size || p.End-p.Begin != int64(p.Numel()*t.DType.Size()) {
			return fmt.Errorf("the part %v of %s at bytes [%d, %d) of %s, which has its header up to %d and ends at %d", p.Box, t.DType, p.Begin, p.End, p.File, f.Header, f.Size)
		}
	}
	return tiled(t)
}

// tiled is an error unless the parts have every element exactly once.
func tiled(t Tensor) error {
	parts := slices.SortedFunc(slices.Values(t.Parts), func(a, b Part) int { return slices.Compare(a.Lo, b.Lo) })
	n := 0
	var open []Part // that reach beyond the row at which the next one begins
	for _, p := range parts {
		n += p.Numel()
		if len(p.Lo) > 0 {
			open = slices.DeleteFunc(open, func(o Part) bool { return o.Hi[0] <= p.Lo[0] })
		}
		for _, o := range open {
			if both, ok := p.Intersect(o.Box); ok {
				return fmt.Errorf("%v is there twice, in the parts %v of %s and %v of %s", both, o.Box, o.File, p.Box, p.File)
			}
		}
		open = append(open, p)
	}
	if whole := dtensor.Whole(t.Shape).Numel(); n != whole {
		return fmt.Errorf("its parts have %d of its %d elements", n, whole)
	}
	return nil
}
