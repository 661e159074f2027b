// SPDX-License-Identifier: Apache-2.0

package multigpu

import (
	"math"
	"slices"
	"testing"

	"octet/test/ranks"
)

// TestAsyncTensorInFlight: two simulated GPUs that share each layer, with rows that travel on a stream of their own while others are multiplied,
// or in float8 with a scale each, train as on the CPU, in whatever order the streams run, and without a race.
func TestAsyncTensorInFlight(t *testing.T) {
	for _, tt := range []struct {
		recipe int
		modes  []string // of test/sim
		args   []string
	}{
		{1, []string{"late", "random"}, nil},
		{3, []string{"late"}, []string{"--model.args.dim=64"}}, // row-wise: float8 takes no narrower part of a layer
	} {
		recipe := recipes()[tt.recipe]
		i := integration{args: slices.Concat(recipe.args, tt.args), tensor: 2, batch: 4, steps: 2, degrees: []string{"--parallelism.enable_async_tensor_parallel"}}
		t.Setenv(ranks.DeviceVar, "")
		want := i.beside(t, 2, nil)
		t.Setenv(ranks.DeviceVar, ranks.Sim)
		for _, mode := range tt.modes {
			t.Run(recipe.name+" "+mode, func(t *testing.T) {
				t.Setenv("SIM_MODE", mode)
				got := i.beside(t, 2, ranks.Simulated(t))
				for s := range want {
					if off := math.Abs(got[s].Loss-want[s].Loss) / want[s].Loss; !(off <= recipe.near) {
						t.Errorf("step %d: loss %v, on the CPU %v: off by %.2g", s+1, got[s].Loss, want[s].Loss, off)
					}
				}
			})
		}
	}
}
