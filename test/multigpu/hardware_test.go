// SPDX-License-Identifier: Apache-2.0

package multigpu

import (
	"fmt"
	"math"
	"os"
	"testing"

	"octet/test/ranks"
)

// TestHardwareTrainsAsTheCPU: every recipe, on one rank and on two, which share a GPU where OCTET_TEST_ONE_GPU says so. Of bf16 products
// tensor cores make other roundings.
func TestHardwareTrainsAsTheCPU(t *testing.T) {
	if os.Getenv(ranks.DeviceVar) != "cuda" {
		t.Skip(ranks.DeviceVar + "=cuda runs it on a GPU")
	}
	for _, n := range []int{1, 2} {
		for _, recipe := range recipes() {
			t.Run(fmt.Sprintf("%s on %d", recipe.name, n), func(t *testing.T) {
				i := integration{args: recipe.args, batch: 4, steps: 20}
				if testing.Short() {
					i.steps = 2
				}
				t.Setenv(ranks.DeviceVar, "")
				want := i.beside(t, n, nil)
				t.Setenv(ranks.DeviceVar, "cuda")
				got := i.beside(t, n, nil)
				worst := 0.0
				for s := range want {
					off := math.Abs(got[s].Loss-want[s].Loss) / want[s].Loss
					worst = max(worst, off)
					if !(off <= recipe.near) {
						t.Errorf("step %d: loss %v, on the CPU %v: off by %.2g", s+1, got[s].Loss, want[s].Loss, off)
					}
				}
				t.Logf("the losses of %d steps are the CPU's within %.2g", len(want), worst)
			})
		}
	}
}
