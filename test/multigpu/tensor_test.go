// SPDX-License-Identifier: Apache-2.0

package multigpu

import (
	"fmt"
	"math"
	"testing"

	"octet/test/ranks"
)

// TestAsyncTensorInFlight: two simulated GPUs that share each layer, with rows that travel on a stream of their own while others are multiplied,
// train as on the CPU, in whatever order the streams run, and without a race.
func TestAsyncTensorInFlight(t *testing.T) {
	i := integration{args: []string{"--training.mixed_precision_param=bfloat16"}, tensor: 2, batch: 4, steps: 2,
		degrees: []string{"--parallelism.enable_async_tensor_parallel"}}
	t.Setenv(ranks.DeviceVar, "")
	want := i.beside(t, 2, nil)
	t.Setenv(ranks.DeviceVar, ranks.Sim)
	for _, mode := range []string{"late", "random"} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			t.Setenv("SIM_MODE", mode)
			got := i.beside(t, 2, ranks.Simulated(t))
			for s := range want {
				if off := math.Abs(got[s].Loss-want[s].Loss) / want[s].Loss; !(off <= 1e-2) {
					t.Errorf("step %d: loss %v, on the CPU %v: off by %.2g", s+1, got[s].Loss, want[s].Loss, off)
				}
			}
		})
	}
}
