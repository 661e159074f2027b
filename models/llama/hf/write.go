// SPDX-License-Identifier: Apache-2.0

package hf

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"octet/checkpoint"
	"octet/checkpoint/safetensors"
	"octet/dtensor"
)

// export is the writing of one folder, by one of its ranks. Where every byte goes follows from the model's sizes, so ranks write at their
// places in the same files and agree on nothing.
type export struct {
	making  string // the folder until it is whole
	config  Config
	from    checkpoint.Source
	options Options
	piece   int // about so many bytes of a tensor, as float32, are in memory at once
}

// file is one of the files of weights.
type file struct {
	name string
	head []byte
	all  int64 // bytes of its tensors
}

// piece is some rows of a tensor and their place.
type piece struct {
	tensor
	file   int
	at     int64
	lo, hi int
}

const pieceBytes = 32 << 20

// plan gives every row of every tensor its file and its place there.
func (e *export) plan() (files []file, pieces []piece, err error) {
	limit := e.options.MaxShard
	if limit == 0 {
		limit = 5e9
	}
	var lists [][]safetensors.Tensor
	byName, left := map[string]tensor{}, int64(0)
	for _, t := range tensors(e.config.Args) {
		entry := safetensors.Tensor{Name: t.hf, DType: e.config.DType, Shape: t.shape}
		if int64(entry.Bytes()) > left {
			lists, left = append(lists, nil), limit
		}
		last := len(lists) - 1
		lists[last] = append(lists[last], entry)
		byName[t.hf], left = t, left-int64(entry.Bytes())
	}
	for i, list := range lists {
		head, list, err := safetensors.Header(map[string]string{"format": "pt"}, list)
		if err != nil {
			return nil, nil, err
		}
		f := file{name: fileName(i, len(lists)), head: head}
		for _, entry := range list {
			pieces = append(pieces, e.pieces(byName[entry.Name], i, int64(len(head))+f.all)...)
			f.all += int64(entry.Bytes())
		}
		files = append(files, f)
	}
	return files, pieces, nil
}

// pieces cuts a tensor that begins at a place of a file.
func (e *export) pieces(t tensor, file int, at int64) (list []piece) {
	rows := t.shape[0]
	width := dtensor.Whole(t.shape).Numel() / max(1, rows)
	step := max(1, e.piece/(4*max(1, width)))
	if t.head > 0 { // whole heads: their rows change places within them
		step = (step + t.head - 1) / t.head * t.head
	}
	for lo := 0; lo < rows; lo += step {
		list = append(list, piece{t, file, at + int64(lo*width*e.config.DType.Size()), lo, min(lo+step, rows)})
	}
	return list
}

// fileName is transformers' name of file i of n.
func fileName(i, n int) string {
	if n == 1 {
		return weightsName
	}
	return fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, n)
}

// begin gives the files their heads and their size. Other ranks may write behind the heads already.
func (e *export) begin(files []file) error {
	for _, f := range files {
		if err := e.edit(f.name, func(file *os.File) error {
			_, err := file.WriteAt(f.head, 0)
			return errors.Join(err, file.Truncate(int64(len(f.head))+f.all))
		}); err != nil {
			return err
		}
	}
	return nil
}

// edit opens a file, which is made if it is not there, and leaves it on the disk.
func (e *export) edit(name string, write func(*os.File) error) error {
	f, err := os.OpenFile(filepath.Join(e.making, name), os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Sync(), f.Close())
}

// write writes this rank's share of the pieces.
func (e *export) write(files []file, pieces []piece) error {
	rank, world := e.options.Ranks.Rank, max(1, e.options.Ranks.World)
	start, own := dtensor.Chunk(len(pieces), world, rank)
	pieces = pieces[start : start+own]
	done, all := int64(0), int64(0)
	for _, p := range pieces {
		all += p.bytes(e.config.DType)
	}
	for len(pieces) > 0 {
		n := 1
		for n < len(pieces) && pieces[n].file == pieces[0].file {
			n++
		}
		if err := e.edit(files[pieces[0].file].name, func(f *os.File) error {
			for _, p := range pieces[:n] {
				out, err := e.convert(p)
				if err == nil {
					_, err = f.WriteAt(out, p.at)
				}
				if err != nil {
					return fmt.Errorf("%s: %w", p.hf, err)
				}
				if done += int64(len(out)); e.options.Progress != nil {
					e.options.Progress(done, all)
				}
			}
			return nil
		}); err != nil {
			return err
		}
		pieces = pieces[n:]
	}
	return nil
}

// convert reads a piece, and gives its rows transformers' order and type.
func (e *export) convert(p piece) ([]byte, error) {
	kind, shape, ok := e.from.Lookup(p.octet)
	if !ok {
		return nil, fmt.Errorf("%s is missing", p.octet)
	}
	whole := dtensor.Whole(p.shape)
	if !dtensor.Whole(shape).Equal(whole) {
		return nil, fmt.Errorf("%s has shape %v, the model wants %v", p.octet, shape, p.shape)
	}
	box := whole.Rows(p.lo, p.hi)
	raw, values := make([]byte, box.Numel()*kind.Size()), make([]float32, box.Numel())
	if err := e.from.Read(p.octet, box, raw); err != nil {
		return nil, err
	}
	if err := safetensors.DecodeFloat32(values, kind, raw); err != nil {
		return nil, err
	}
	if err := checkRange(values, e.config.DType); err != nil {
		return nil, err
	}
	if p.head > 0 {
		values = p.reorder(values, len(values)/(p.hi-p.lo))
	}
	out := make([]byte, p.bytes(e.config.DType))
	return out, safetensors.EncodeFloat32(out, e.config.DType, values)
}

// bytes is the size of a piece in elements of a type.
func (p piece) bytes(t safetensors.DType) int64 {
	return int64(dtensor.Whole(p.shape).Rows(p.lo, p.hi).Numel() * t.Size())
}

// reorder puts the rows of whole heads into transformers' order.
func (t tensor) reorder(rows []float32, width int) []float32 {
	out := make([]float32, len(rows))
	for i := range len(rows) / width {
		copy(out[t.hfRow(i)*width:][:width], rows[i*width:])
	}
	return out
}

// checkRange refuses finite values that would become infinite.
func checkRange(values []float32, as safetensors.DType) error {
	if as != safetensors.F16 {
		return nil
	}
	const beyond = 65520 // rounds to 2^16, which float16 has not
	for _, v := range values {
		if abs := math.Abs(float64(v)); abs >= beyond && !math.IsInf(abs, 0) {
			return fmt.Errorf("the value %v is beyond float16; export as bfloat16 or float32", v)
		}
	}
	return nil
}

// index writes which tensor is in which file, if there are several.
func (e *export) index(files []file, pieces []piece) error {
	if len(files) == 1 {
		return nil
	}
	weightMap, all := map[string]string{}, int64(0)
	for _, f := range files {
		all += f.all
	}
	for _, p := range pieces {
		weightMap[p.hf] = files[p.file].name
	}
	text, err := json.MarshalIndent(map[string]any{"metadata": map[string]any{"total_size": all}, "weight_map": weightMap}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(e.making, indexName), append(text, '\n'), 0o666)
}
