// SPDX-License-Identifier: Apache-2.0

package train

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"octet/checkpoint/safetensors"
	"octet/device"
	"octet/nn"
)

// initWeights loads the weights of checkpoint.initial_load_path, or draws them.
// Each rank makes only its own rows; they are those of the whole parameter.
func (t *Trainer) initWeights() error {
	params := t.sharded.Params()
	if path := t.cfg.Checkpoint.InitialLoadPath; path != "" {
		if err := load(t.ctx.Stream, path, params); err != nil {
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

// openWeights opens the file or folder at path, and reports every tensor that it
// lacks, has too many or in another shape than params.
func openWeights(path string, params []*nn.Param) (*safetensors.Set, error) {
	set, err := safetensors.Open(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint.initial_load_path: %w", err)
	}
	if err := compare(set, path, params); err != nil {
		return nil, errors.Join(err, set.Close())
	}
	return set, nil
}

func compare(set *safetensors.Set, path string, params []*nn.Param) error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("checkpoint.initial_load_path = %s: "+format, append([]any{path}, args...)...))
	}
	known := map[string]bool{}
	for _, p := range params {
		known[p.Name] = true
		info, ok := set.Info(p.Name)
		switch {
		case !ok:
			bad("%s %v is missing", p.Name, p.Shape)
		case !slices.Equal(info.Shape, p.Shape):
			bad("%s has shape %v, the model wants %v", p.Name, info.Shape, p.Shape)
		default:
			if err := safetensors.DecodeFloat32(nil, info.DType, nil); err != nil {
				bad("%s: %w", p.Name, err)
			}
		}
	}
	for _, name := range set.Names() {
		// RoPE's table is computed, not loaded.
		if !known[name] && !strings.HasSuffix(name, "freqs_cis") {
			bad("%s is not a parameter of the model", name)
		}
	}
	return errors.Join(errs...)
}

func load(s device.Stream, path string, params []*nn.Param) error {
	set, err := openWeights(path, params)
	if err != nil {
		return err
	}
	defer set.Close()
	for _, p := range params {
		info, _ := set.Info(p.Name)
		if err := p.SetRows(s, func(rows []float32, first int) error {
			raw, err := set.Rows(p.Name, first, len(rows)/p.RowSize())
			if err != nil {
				return err
			}
			return safetensors.DecodeFloat32(rows, info.DType, raw)
		}); err != nil {
			return fmt.Errorf("checkpoint.initial_load_path = %s: %s: %w", path, p.Name, err)
		}
	}
	return nil
}
