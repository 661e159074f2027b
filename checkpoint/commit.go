// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"octet/internal/durable"
	"octet/nn"
)

// commit makes a checkpoint of what the ranks write to tmp, of which own is this one's report: it waits for the others',
// checks that the parts tile every tensor, writes the index, and renames the folder to final. A failure removes tmp, by which
// the other ranks know.
func (s *Saver) commit(tmp, final string, own *report, run Run, tensors []nn.DTensor) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	x := &Index{Format: format, Run: run, Files: map[string]File{}, Tensors: map[string]Tensor{}}
	x.ConfigSHA256 = fmt.Sprintf("%x", sha256.Sum256([]byte(run.Config)))
	if len(tensors) > 0 {
		x.Mesh = tensors[0].Layout.Mesh().Axes()
	}
	if err := s.collect(x, tmp, own); err != nil {
		return err
	}
	text, err := x.encode()
	if err != nil {
		return err
	}
	if _, err := decode(text); err != nil { // as whoever loads it will
		return err
	}
	if exists(final) {
		return fmt.Errorf("%s is there already; a checkpoint is never overwritten", final)
	}
	for name, f := range x.Files {
		if stat, err := os.Stat(filepath.Join(tmp, name)); err != nil {
			return err
		} else if stat.Size() != f.Size {
			return fmt.Errorf("%s has %d bytes, not the %d that were written", name, stat.Size(), f.Size)
		}
	}
	if err := errors.Join(durable.Text(filepath.Join(tmp, IndexName), text), durable.Folder(tmp)); err != nil {
		return err
	}
	if err := os.Rename(tmp, final); err != nil {
		return err
	}
	return errors.Join(durable.Folder(s.o.Folder), retain(s.o.Folder, s.o.Keep))
}

// collect adds the reports of all ranks to an index, as they come.
func (s *Saver) collect(x *Index, tmp string, own *report) error {
	x.add(own)
	return s.o.Collect(tmp, own.failure(), func(text []byte) error {
		var r report
		err := json.Unmarshal(text, &r)
		x.add(&r)
		return cmp.Or(err, r.failure())
	})
}

// add takes what a rank reports.
func (x *Index) add(r *report) {
	for name, f := range r.Files {
		x.Files[name] = f
	}
	for name, t := range r.Tensors {
		whole, ok := x.Tensors[name]
		if !ok {
			whole = Tensor{Shape: t.Shape, DType: t.DType}
		}
		whole.Parts = append(whole.Parts, t.Parts...)
		slices.SortFunc(whole.Parts, func(a, b Part) int { return slices.Compare(a.Lo, b.Lo) })
		x.Tensors[name] = whole
	}
}
