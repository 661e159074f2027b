// SPDX-License-Identifier: Apache-2.0

package fsdp_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"octet/comm"
	"octet/comm/record"
	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/parallel"
)

// again are the ways to recompute the layers of a Llama.
func again() map[string]*parallel.Recompute {
	blocks := []string{"layers.*"}
	return map[string]*parallel.Recompute{
		"full":      {Modules: blocks},
		"every 2nd": {Modules: blocks, Every: 2},
		"per op":    {Modules: blocks, Keep: nn.KeepCostly},
		"head":      {Modules: []string{"norm+output", "tok_embeddings"}, Keep: nn.KeepCostly},
		"parts":     {Modules: []string{"layers.*.attention", "layers.*.feed_forward.*"}, Keep: nn.KeepCostly},
		"all":       {Modules: []string{"layers.*", "layers.*.feed_forward", "norm+output"}},
	}
}

// recipe is a configuration by name, whose weights may travel as float8.
func recipe(t *testing.T, name fp8.RecipeName, gathered bool) *fp8.Float8LinearConfig {
	t.Helper()
	cfg, err := fp8.ConfigFromRecipe(name)
	if err != nil {
		t.Fatal(err)
	}
	cfg.EnableFsdpFloat8AllGather = gathered
	return &cfg
}

// evaluate runs the model on other tokens, as validation between steps does.
func evaluate(w *worker, step int) {
	ids := w.c.Pool.New(dtype.Int32, 2, seqLen)
	defer w.c.Pool.Free(ids)
	in, _ := w.tokens(100+step, 2*w.rank, 2)
	w.c.Stream.Upload(ids, device.Int32Bytes(in))
	if _, err := w.m.Eval(1, func(c *nn.Ctx, _ int) (int, error) {
		nn.CrossEntropy(c, w.m.Forward(c, nn.Input(ids)), ids)
		return len(in), nil
	}); err != nil {
		panic(err)
	}
}

// ofUnits are the calls that move weights and gradients.
func ofUnits(calls []record.Call) []record.Call {
	return slices.DeleteFunc(slices.Clone(calls), func(c record.Call) bool {
		return c.Kind != comm.AllGather && c.Kind != comm.ReduceScatter || ofLosses(c)
	})
}

// sameBuffers fails unless two runs have the same state of delayed scales.
func sameBuffers(t *testing.T, what string, a, b *worker) {
	t.Helper()
	others := maps.Collect(nn.Buffers(b.m.Root()))
	for name, buffer := range nn.Buffers(a.m.Root()) {
		if x, y := a.mustGet(t, buffer.Tensor), b.mustGet(t, others[name].Tensor); !slices.Equal(x, y) {
			t.Errorf("%s: %s is %v, want %v", what, name, y, x)
		}
	}
}

// TestRecomputationChangesNoBit under any recipe, sharding and accumulation, and with
// evaluation between steps: not of losses, gradient norms and weights, nor of what is sent
// when: a unit is gathered as often as without; nor of the amax histories of delayed scaling.
// And it leaves no memory.
func TestRecomputationChangesNoBit(t *testing.T) {
	emulated := recipe(t, fp8.RecipeTensorwise, false)
	emulated.Emulate = true
	deeper := tied
	deeper.Layers = 2
	f32, bf16 := fsdp.Options{Param: dtype.Float32}, fsdp.Options{Param: dtype.BFloat16}
	for name, j := range map[string]job{
		"f32 on 3":             {ranks: 3, args: uneven, options: f32, batch: 12, micro: 2},
		"bf16 tied on 2":       {ranks: 2, args: deeper, options: bf16, batch: 4},
		"float8 on 1":          {ranks: 1, args: sixteens, options: bf16, float8: recipe(t, fp8.RecipeTensorwise, false), batch: 8, micro: 2, before: evaluate},
		"emulated on 2":        {ranks: 2, args: sixteens, options: f32, float8: emulated, batch: 4},
		"float8 gather on 4":   {ranks: 4, args: sixteens, options: bf16, float8: recipe(t, fp8.RecipeTensorwise, true), scales: true, batch: 8, before: evaluate},
		"delayed on 2":         {ranks: 2, args: sixteens, options: bf16, float8: recipe(t, fp8.RecipeDelayed, false), batch: 8, micro: 2, before: evaluate},
		"delayed gather on 2":  {ranks: 2, args: sixteens, options: bf16, float8: recipe(t, fp8.RecipeDelayed, true), batch: 4, before: evaluate},
		"rowwise on 2":         {ranks: 2, args: sixteens, options: bf16, float8: recipe(t, fp8.RecipeRowwise, false), batch: 8, micro: 2},
		"rowwise gather on 2":  {ranks: 2, args: sixteens, options: bf16, float8: recipe(t, fp8.RecipeRowwise, true), batch: 8, micro: 2},
		"rowwise gw_hp on 2":   {ranks: 2, args: sixteens, options: bf16, float8: recipe(t, fp8.RecipeRowwiseWithGWHP, false), batch: 4},
		"never freed, float8":  {ranks: 2, args: sixteens, options: fsdp.Options{Param: dtype.BFloat16, Reshard: fsdp.ReshardNever}, float8: recipe(t, fp8.RecipeTensorwise, true), batch: 4},
		"always freed, float8": {ranks: 2, args: sixteens, options: fsdp.Options{Param: dtype.BFloat16, Reshard: fsdp.ReshardAlways}, float8: recipe(t, fp8.RecipeTensorwise, true), batch: 8, micro: 2},
	} {
		t.Run(name, func(t *testing.T) {
			j.steps = 3
			kept := run(t, j)
			for how, recompute := range again() {
				j := j
				j.again = recompute
				got := run(t, j)
				sameBits(t, how, kept, got)
				sameBuffers(t, how, kept[0], got[0])
				for rank, w := range got {
					for step, calls := range w.calls {
						if !reflect.DeepEqual(ofUnits(calls), ofUnits(kept[rank].calls[step])) {
							t.Errorf("%s: rank %d gathers or reduces otherwise in step %d", how, rank, step)
						}
					}
					if live, want := fmt.Sprint(w.live), fmt.Sprint(kept[rank].live); live != want {
						t.Errorf("%s: rank %d has %s bytes in use after the steps, want %s", how, rank, live, want)
					}
				}
			}
		})
	}
}

// TestUnitsWithinWhatIsRecomputed change no bit either, and are gathered as often as
// without: for the first pass, and for the second together with its backward.
func TestUnitsWithinWhatIsRecomputed(t *testing.T) {
	inner := []string{"layers.*.attention", "layers.*.feed_forward", "norm+output"}
	for _, reshard := range []fsdp.Reshard{fsdp.ReshardDefault, fsdp.ReshardNever, fsdp.ReshardAlways} {
		j := job{ranks: 2, args: sixteens, units: inner, options: fsdp.Options{Param: dtype.BFloat16, Reshard: reshard}, batch: 8, micro: 2, steps: 3}
		kept := run(t, j)
		j.again = &parallel.Recompute{Modules: []string{"layers.*"}, Keep: nn.KeepCostly}
		got := run(t, j)
		sameBits(t, string(reshard), kept, got)
		for step, calls := range got[0].calls {
			if n, want := len(calls), len(kept[0].calls[step]); n != want {
				t.Errorf("%s, step %d: %d collectives, want %d", reshard, step, n, want)
			}
		}
	}
}
