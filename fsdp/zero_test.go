// SPDX-License-Identifier: Apache-2.0

package fsdp_test

import (
	"math"
	"strings"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
)

// TestTensorsOfZeros have a scale like others, in every recipe: a model that is all zeros
// guesses and has no gradient, and one whose blocks add nothing at first learns.
func TestTensorsOfZeros(t *testing.T) {
	emulated := recipe(t, fp8.RecipeTensorwise, true)
	emulated.Emulate = true
	for name, cfg := range map[string]*fp8.Float8LinearConfig{
		"tensorwise":         recipe(t, fp8.RecipeTensorwise, false),
		"tensorwise gather":  recipe(t, fp8.RecipeTensorwise, true),
		"emulated":           emulated,
		"delayed":            recipe(t, fp8.RecipeDelayed, false),
		"delayed gather":     recipe(t, fp8.RecipeDelayed, true),
		"rowwise":            recipe(t, fp8.RecipeRowwise, false),
		"rowwise gather":     recipe(t, fp8.RecipeRowwise, true),
		"rowwise_with_gw_hp": recipe(t, fp8.RecipeRowwiseWithGWHP, false),
	} {
		t.Run(name, func(t *testing.T) {
			train := func(zero func(name string) bool) *worker {
				j := job{ranks: 2, args: sixteens, options: fsdp.Options{Param: dtype.BFloat16}, float8: cfg, batch: 4, steps: 4}
				j.before = func(w *worker, step int) {
					if step > 0 {
						return
					}
					if err := w.m.Load(func(s device.Stream, params []*nn.Param) error {
						for _, p := range params {
							if zero(p.Name) {
								p.Set(s, make([]float32, p.Local().Numel()))
							}
						}
						return nil
					}); err != nil {
						panic(err)
					}
				}
				return run(t, j)[0]
			}
			for step, loss := range train(func(string) bool { return true }).losses {
				if math.Abs(loss-math.Log(float64(sixteens.Vocab))) > 1e-6 {
					t.Errorf("all zeros: loss %v after %d steps, want that of guessing", loss, step)
				}
			}
			w := train(func(name string) bool {
				return strings.HasSuffix(name, "wo.weight") || strings.HasSuffix(name, "w2.weight")
			})
			if first, last := w.losses[0], w.losses[3]; !(last < first) || !(w.norms[0] > 0) {
				t.Errorf("blocks of zeros: losses %v, norms %v, want them to fall", w.losses, w.norms)
			}
		})
	}
}
