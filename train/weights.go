// SPDX-License-Identifier: Apache-2.0

package train

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"octet/checkpoint/safetensors"
	"octet/config"
	"octet/device"
	"octet/models/llama/plan"
	"octet/nn"
)

// initWeights loads the weights of checkpoint.initial_load_path, or draws them.
// Each rank makes only its own rows; they are those of the whole parameter.
func (t *Trainer) initWeights() error {
	params := t.sharded.Params()
	if t.cfg.Checkpoint.InitialLoadPath != "" {
		w, err := openWeights(t.cfg, params)
		if err != nil {
			return err
		}
		if len(w.unused) > 0 && t.comm.Rank() == 0 {
			t.log.Warn(fmt.Sprintf("checkpoint.initial_load_path = %s: not of the model, so left out: %s", w.path, strings.Join(w.unused, ", ")))
		}
		if err := errors.Join(w.load(t.ctx.Stream), w.set.Close()); err != nil {
			return err
		}
	} else {
		for _, p := range params {
			p.Draw(t.ctx.Stream, uint64(t.cfg.Debug.Seed))
		}
	}
	t.precompute()
	return t.sync()
}

// weights are the model's parameters in the file or folder at path.
type weights struct {
	path   string
	set    *safetensors.Set
	params []*nn.Param
	stored []string // the tensor of each parameter
	unused []string // tensors of the set that the model does not have
}

// openWeights opens checkpoint.initial_load_path, and reports every parameter
// that it lacks or has in another shape or in a type that is no weight's. A weight
// that the model has under two names may be there under either or both.
func openWeights(cfg *config.Config, params []*nn.Param) (*weights, error) {
	args, err := plan.Args(cfg)
	if err != nil {
		return nil, err
	}
	w := &weights{path: cfg.Checkpoint.InitialLoadPath, params: params}
	if w.set, err = safetensors.Open(w.path); err != nil {
		return nil, fmt.Errorf("checkpoint.initial_load_path: %w", err)
	}
	if err := w.find(args.Shared()); err != nil {
		return nil, errors.Join(err, w.set.Close())
	}
	return w, nil
}

// find fills stored and unused. shared are second names of parameters.
func (w *weights) find(shared map[string]string) error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("checkpoint.initial_load_path = %s: "+format, append([]any{w.path}, args...)...))
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
			w.unused = append(w.unused, name)
			if lacks { // it may be what is missing, by another name
				bad("%s is not a parameter of the model", name)
			}
		}
	}
	return errors.Join(errs...)
}

// equal reports whether two tensors, of the set's, have the same values.
func (w *weights) equal(one, other string) bool {
	if one == other {
		return true
	}
	a, x, errA := w.set.Tensor(one)
	b, y, errB := w.set.Tensor(other)
	return errA == nil && errB == nil && a.DType == b.DType && bytes.Equal(x, y)
}

// load gives the parameters their rows.
func (w *weights) load(s device.Stream) error {
	for i, p := range w.params {
		name := w.stored[i]
		info, _ := w.set.Info(name)
		if err := p.SetRows(s, func(rows []float32, first int) error {
			raw, err := w.set.Rows(name, first, len(rows)/p.RowSize())
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
