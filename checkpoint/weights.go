// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
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
	// What they are, key and path, before what is wrong with them.
	What string

	from   Source
	params []*nn.Param
	stored []string // the tensor of each parameter
	raw    []byte   // of a box that is read
}

// OpenWeights opens the file or folder at path and reports every parameter that it
// lacks or has in another shape or in a type that is no weight's. shared has
// second names of parameters: a weight that the model has under two may be there
// under either or both.
func OpenWeights(path string, params []*nn.Param, shared map[string]string) (*Weights, error) {
	from, err := OpenSource(path)
	if err != nil {
		return nil, initial(err)
	}
	return NewWeights("checkpoint.initial_load_path = "+path, from, params, shared)
}

// NewWeights is OpenWeights of a source that is open, which what names in errors. Close closes it; an error has done so.
func NewWeights(what string, from Source, params []*nn.Param, shared map[string]string) (*Weights, error) {
	w := &Weights{What: what, from: from, params: params}
	if err := w.find(shared); err != nil {
		return nil, errors.Join(err, from.Close())
	}
	return w, nil
}

// find fills stored and Unused.
func (w *Weights) find(shared map[string]string) error {
	var all []error
	bad := func(format string, args ...any) {
		all = append(all, fmt.Errorf("%s: "+format, append([]any{w.What}, args...)...))
	}
	used := map[string]bool{}
	lacks := false
	for _, p := range w.params {
		var names []string // under which the file has the parameter
		for _, name := range []string{p.Name, shared[p.Name]} {
			if _, _, ok := w.from.Lookup(name); ok && name != "" {
				names = append(names, name)
				used[name] = true
			}
		}
		if len(names) == 0 {
			lacks = true
			w.stored = append(w.stored, "")
			bad("%s %v is missing", p.Name, p.WholeShape())
			continue
		}
		w.stored = append(w.stored, names[0])
		for _, name := range names {
			kind, shape, _ := w.from.Lookup(name)
			if whole := p.WholeShape(); !slices.Equal(shape, whole) {
				bad("%s has shape %v, the model wants %v", name, shape, whole)
			} else if err := safetensors.DecodeFloat32(nil, kind, nil); err != nil {
				bad("%s: %w", name, err)
			}
		}
		if !w.equal(names[0], names[len(names)-1]) {
			bad("%s and %s differ, but the model has one weight for both: set model.args.enable_weight_tying = false, or leave one out of the file",
				names[0], names[len(names)-1])
		}
	}
	for _, name := range w.from.Names() {
		// RoPE's table is computed, not loaded; an optimizer's state and float8's is no weight.
		if !used[name] && !strings.HasSuffix(name, "freqs_cis") && !strings.HasPrefix(name, "optim.") && !strings.Contains(name, "fp8_") {
			w.Unused = append(w.Unused, name)
			if lacks { // it may be what is missing, by another name
				bad("%s is not a parameter of the model", name)
			}
		}
	}
	return problems.Lines(all...)
}

// equal reports whether two tensors have the same values.
func (w *Weights) equal(one, other string) bool {
	if one == other {
		return true
	}
	a, errA := w.whole(one)
	b, errB := w.whole(other)
	return errA == nil && errB == nil && slices.Equal(a, b)
}

// whole is a tensor's type and bytes.
func (w *Weights) whole(name string) ([]byte, error) {
	kind, shape, _ := w.from.Lookup(name)
	box := dtensor.Whole(shape)
	raw := append(make([]byte, box.Numel()*kind.Size()), kind...)
	return raw, w.from.Read(name, box, raw[:len(raw)-len(kind)])
}

// Load gives the parameters, whose memory there must be, their part.
func (w *Weights) Load(s device.Stream) error {
	if c, ok := w.from.(*Checkpoint); ok {
		if all, ok := w.asSaved(c); ok {
			return c.Load(s, all, nil)
		}
	}
	for i, p := range w.params {
		if err := p.SetBox(s, func(values []float32, box dtensor.Box) error { return w.Read(values, i, box) }); err != nil {
			return err
		}
	}
	return nil
}

// Read fills values with a box of parameter i, of those that the weights were opened for.
func (w *Weights) Read(values []float32, i int, box dtensor.Box) error {
	name := w.stored[i]
	kind, _, _ := w.from.Lookup(name)
	w.raw = slices.Grow(w.raw[:0], len(values)*kind.Size())[:len(values)*kind.Size()]
	err := w.from.Read(name, box, w.raw)
	if err == nil {
		err = safetensors.DecodeFloat32(values, kind, w.raw)
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", w.What, name, err)
	}
	return nil
}

// asSaved are the parameters, if the checkpoint has them as they are here, so that
// they can be read straight into their memory.
func (w *Weights) asSaved(c *Checkpoint) (all []nn.DTensor, ok bool) {
	for i, p := range w.params {
		if w.stored[i] != p.Name || c.Index.Tensors[p.Name].DType != safetensors.F32 {
			return nil, false
		}
		all = append(all, p.DTensor())
	}
	for _, p := range w.params {
		p.Written()
	}
	return all, true
}

// Close lets go of the files.
func (w *Weights) Close() error { return w.from.Close() }
