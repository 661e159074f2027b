// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"octet/checkpoint/safetensors"
	"octet/dtensor"
	"octet/nn"
	"octet/tensor"
)

// report is what a rank says of its file, to rank 0, in a file beside it.
type report struct {
	Error   string            `json:"error,omitempty"` // why there is no file
	Files   map[string]File   `json:"files"`
	Tensors map[string]Tensor `json:"tensors"`
}

func fileName(rank int) string { return fmt.Sprintf("rank-%05d.safetensors", rank) }

// partBytes is about the most that a part has: what one sum is of, and what is read at once.
const partBytes = 4 << 20

// source gives the bytes of some rows of the i-th local tensor, until the next call.
type source func(i int, rows *tensor.Tensor) ([]byte, error)

// export is how values are stored: weights of float32 in another type, or as they are.
type export safetensors.DType

// stored is the type of a tensor's elements in the file.
func (e export) stored(t *tensor.Tensor) safetensors.DType {
	of := safetensors.Of(t.Type)
	if e == "" || of != safetensors.F32 {
		return of
	}
	return safetensors.DType(e)
}

// writeRank writes local tensors to the rank's file in dir and, when that is on the disk, its report beside
// it. progress is called with the bytes of each part.
func (r Ranks) writeRank(dir string, own []nn.DTensor, as export, read source, progress func(bytes int)) *report {
	said := &report{Files: map[string]File{}, Tensors: map[string]Tensor{}}
	err := os.MkdirAll(dir, 0o777)
	if err == nil {
		err = said.writeFile(dir, fileName(r.Rank), own, as, read, progress)
	}
	if err == nil {
		err = r.Report(dir, said.text())
	}
	if err != nil {
		said = &report{Error: err.Error()}
		_ = os.Remove(filepath.Join(dir, fileName(r.Rank))) // it takes room that the reason may need
		r.Fail(dir, said.text())
	}
	return said
}

// failure is why there is no file, nil if there is one.
func (r *report) failure() error {
	if r.Error == "" {
		return nil
	}
	return errors.New(r.Error)
}

func (r *report) text() []byte {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // names and numbers
	}
	return text
}

// writeFile writes a safetensors file.
func (r *report) writeFile(dir, name string, own []nn.DTensor, as export, read source, progress func(bytes int)) (err error) {
	list := make([]safetensors.Tensor, len(own))
	index := make(map[string]int, len(own))
	for i, t := range own {
		list[i] = safetensors.Tensor{Name: t.Name, DType: as.stored(t.Local), Shape: t.Local.Shape}
		index[t.Name] = i
	}
	head, list, err := safetensors.Header(map[string]string{"format": "octet"}, list)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(f, sum), 1<<16) // a large write passes through it
	if _, err := w.Write(head); err != nil {
		return err
	}
	at := int64(len(head))
	for _, t := range list {
		i := index[t.Name]
		d := own[i]
		entry := Tensor{Shape: d.Layout.Shape(), DType: t.DType}
		var values []byte
		for box, rows := range parts(d) {
			raw, err := read(i, rows)
			if err != nil {
				return err
			}
			if raw, values, err = as.convert(raw, rows, values); err != nil {
				return err
			}
			if _, err := w.Write(raw); err != nil {
				return err
			}
			entry.Parts = append(entry.Parts, Part{Box: box, File: name, Begin: at, End: at + int64(len(raw)), CRC32C: crcOf(raw)})
			at += int64(len(raw))
			progress(len(raw))
		}
		r.Tensors[t.Name] = entry
	}
	if err := errors.Join(w.Flush(), f.Sync()); err != nil {
		return err
	}
	r.Files[name] = File{Size: at, Header: int64(len(head)), HeaderCRC32C: crcOf(head), SHA256: fmt.Sprintf("%x", sum.Sum(nil))}
	return nil
}

// parts cuts a local tensor into some of its rows.
func parts(d nn.DTensor) func(yield func(dtensor.Box, *tensor.Tensor) bool) {
	return func(yield func(dtensor.Box, *tensor.Tensor) bool) {
		box, local := d.Box(), d.Local
		if len(local.Shape) == 0 || local.Bytes() <= partBytes {
			_ = local.Numel() == 0 || yield(box, local)
			return
		}
		n := local.Shape[0]
		step := max(1, partBytes/(local.Bytes()/n))
		for lo := 0; lo < n; lo += step {
			hi := min(lo+step, n)
			if !yield(box.Rows(lo, hi), local.Rows(lo, hi)) {
				return
			}
		}
	}
}

// convert turns the bytes of rows into those that are stored, in scratch where they are others.
func (e export) convert(raw []byte, rows *tensor.Tensor, scratch []byte) (stored, more []byte, err error) {
	to := e.stored(rows)
	if to == safetensors.Of(rows.Type) {
		return raw, scratch, nil
	}
	values := make([]float32, rows.Numel())
	if err := safetensors.DecodeFloat32(values, safetensors.F32, raw); err != nil {
		return nil, scratch, err
	}
	if n := len(values) * to.Size(); cap(scratch) < n {
		scratch = make([]byte, n)
	} else {
		scratch = scratch[:n]
	}
	return scratch, scratch, safetensors.EncodeFloat32(scratch, to, values)
}
