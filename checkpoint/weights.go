// SPDX-License-Identifier: Apache-2.0

// Package checkpoint gives a model's parameters the values that files hold
// (package safetensors reads these), each rank its own rows. Its errors name
// checkpoint.initial_load_path, the key that names the files.
package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"octet/checkpoint/safetensors"
	"octet/device"
	"octet/dtensor"
	"octet/internal/problems"
	"octet/nn"
)

// Weights are a model's parameters in the file or folder at a path.
type Weights struct {
	// Unused are the tensors there that the model does not have, sorted by name.
	Unused []string

	path   string
	set    *safetensors.Set
	params []*nn.Param
	stored []string // the tensor of each parameter
}

// openSet opens the files at path.
func openSet(path string) (*safetensors.Set, error) {
	set, err := safetensors.Open(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint.initial_load_path: %w", err)
	}
	return set, nil
}

// Open opens the file or folder at path and reports every parameter that it
// lacks or has in another shape or in a type that is no weight's. shared has
// second names of parameters: a weight that the model has under two may be there
// under either or both.
func Open(path string, params []*nn.Param, shared map[string]string) (*Weights, error) {
	set, err := openSet(path)
	if err != nil {
		return nil, err
	}
	w := &Weights{path: path, set: set, params: params}
	if err := w.find(shared); err != nil {
		return nil, errors.Join(err, set.Close())
	}
	return w, nil
}

// find fills stored and Unused.
func (w *Weights) find(shared map[string]string) error {
	var all []error
	bad := func(format string, args ...any) {
		all = append(all, fmt.Errorf("checkpoint.initial_load_path = %s: "+format, append([]any{w.path}, args...)...))
	}
	used := map[string]bool{}
	lacks := false
	for _, p := range w.params {
		var names []string // under which the file has the parameter
		for _, name := range []string{p.Name, shared[p.Name]} {
			if info, ok := w.set.Info(name); ok && name != "" {
				names = append(names, info.Name)
				used[info.Name] = true
			}
		}
		if len(names) == 0 {
			lacks = true
			w.stored = append(w.stored, "")
			bad("%s %v is missing", p.Name, p.Shape)
			continue
		}
		w.stored = append(w.stored, names[0])
		for _, name := range names {
			info, _ := w.set.Info(name)
			if !slices.Equal(info.Shape, p.Shape) {
				bad("%s has shape %v, the model wants %v", name, info.Shape, p.Shape)
			} else if err := safetensors.DecodeFloat32(nil, info.DType, nil); err != nil {
				bad("%s: %w", name, err)
			}
		}
		if !w.equal(names[0], names[len(names)-1]) {
			bad("%s and %s differ, but the model has one weight for both: set model.args.enable_weight_tying = false, or leave one out of the file",
				names[0], names[len(names)-1])
		}
	}
	for _, name := range w.set.Names() {
		// RoPE's table is computed, not loaded.
		if !used[name] && !strings.HasSuffix(name, "freqs_cis") {
			w.Unused = append(w.Unused, name)
			if lacks { // it may be what is missing, by another name
				bad("%s is not a parameter of the model", name)
			}
		}
	}
	return problems.Lines(all...)
}

// equal reports whether two tensors, of the set's, have the same values.
func (w *Weights) equal(one, other string) bool {
	if one == other {
		return true
	}
	a, x, errA := w.set.Tensor(one)
	b, y, errB := w.set.Tensor(other)
	return errA == nil && errB == nil && a.DType == b.DType && bytes.Equal(x, y)
}

// Load gives the parameters, whose memory there must be, their rows.
func (w *Weights) Load(s device.Stream) error {
	for i, p := range w.params {
		name := w.stored[i]
		info, _ := w.set.Info(name)
		if err := p.SetBox(s, func(rows []float32, box dtensor.Box) error {
			raw, err := w.set.Rows(name, box.Lo[0], box.Hi[0]-box.Lo[0])
			if err != nil {
				return err
			}
			return safetensors.DecodeFloat32(rows, info.DType, raw)
		}); err != nil {
			return fmt.Errorf("checkpoint.initial_load_path = %s: %s: %w", w.path, name, err)
		}
	}
	return nil
}

// Close lets go of the files.
func (w *Weights) Close() error { return w.set.Close() }

// Fingerprint is the SHA-256, in hexadecimal digits, of the tensors at path in the
// order of their names, in whichever files they are: of each its name, a zero byte,
// type, shape and data. It reads every byte.
func Fingerprint(path string) (string, error) {
	set, err := openSet(path)
	if err != nil {
		return "", err
	}
	h := sha256.New() // whose Write never fails
	for _, name := range set.Names() {
		info, raw, err := set.Tensor(name)
		if err != nil {
			return "", errors.Join(err, set.Close())
		}
		fmt.Fprintf(h, "%s\x00%s %v", name, info.DType, info.Shape)
		h.Write(raw)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), set.Close()
}
