// SPDX-License-Identifier: Apache-2.0

package multigpu

import (
	"fmt"
	"math"
	"os"
	"testing"

	"octet/metrics"
	"octet/test/ranks"
	"octet/test/sim/control"
	"octet/train"
)

// recipes are the ways to train that the simulated GPUs are held to. near is how far a loss
// may be from the CPU's, relatively.
func recipes() []struct {
	name string
	near float64
	args []string
} {
	float8 := func(args ...string) []string {
		return append([]string{"--model.converters=quantize.linear.float8", "--quantize.linear.float8.filter_fqns=output"}, args...)
	}
	const gather = "--quantize.linear.float8.enable_fsdp_float8_all_gather"
	return []struct {
		name string
		near float64
		args []string
	}{
		{"float32", 1e-5, nil},
		{"bfloat16", 1e-2, []string{"--training.mixed_precision_param=bfloat16"}},
		{"tensorwise", 2e-2, float8(gather, "--quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp")},
		{"rowwise", 2e-2, float8("--quantize.linear.float8.recipe_name=rowwise", gather)},
		{"rowwise_with_gw_hp", 2e-2, float8("--quantize.linear.float8.recipe_name=rowwise_with_gw_hp")},
		{"delayed", 2e-2, float8("--quantize.linear.float8.recipe_name=delayed", gather)},
	}
}

func heavy() bool { return os.Getenv("OCTET_HEAVY") != "" }

// TestSimulatedGPUsTrainAsTheCPU: every recipe, with nothing running before the host waits,
// once a step, and no race.
func TestSimulatedGPUsTrainAsTheCPU(t *testing.T) {
	for _, n := range []int{1, 2, 4} {
		for _, recipe := range recipes() {
			t.Run(fmt.Sprintf("%s on %d", recipe.name, n), func(t *testing.T) {
				i := integration{args: recipe.args, batch: 4, steps: 4}
				if heavy() {
					i.steps = 20
				} else if n > 1 && (recipe.name != "tensorwise" || n > 2) {
					t.Skip("OCTET_HEAVY=1 runs it")
				}
				t.Setenv(ranks.DeviceVar, "")
				want := i.beside(t, n, nil)
				t.Setenv(ranks.DeviceVar, ranks.Sim)
				got := i.beside(t, n, ranks.Simulated(t))
				for s := range want {
					if off := math.Abs(got[s].Loss-want[s].Loss) / want[s].Loss; !(off <= recipe.near) {
						t.Errorf("step %d: loss %v, on the CPU %v: off by %.2g", s+1, got[s].Loss, want[s].Loss, off)
					}
				}
			})
		}
	}
}

// TestSimulatedGPUsTrainAlikeInAnyOrder: of streams, blocks and threads. No order races, and
// none changes a bit.
func TestSimulatedGPUsTrainAlikeInAnyOrder(t *testing.T) {
	if !heavy() {
		t.Skip("takes a minute: OCTET_HEAVY=1 runs it")
	}
	i := integration{args: recipes()[2].args, batch: 4, steps: 2}
	t.Setenv(ranks.DeviceVar, ranks.Sim)
	var want []metrics.Record
	for _, mode := range []string{"lazy", "random"} {
		for seed := range 16 {
			t.Run(fmt.Sprint(mode, " ", seed), func(t *testing.T) {
				t.Setenv("SIM_MODE", mode)
				t.Setenv("SIM_SEED", fmt.Sprint(seed))
				got := i.beside(t, 2, ranks.Simulated(t))
				if want == nil {
					want = got
				}
				for s := range want {
					if got[s].Loss != want[s].Loss || got[s].GradNorm != want[s].GradNorm {
						t.Errorf("step %d: loss %v and norm %v, in another order %v and %v", s+1, got[s].Loss, got[s].GradNorm, want[s].Loss, want[s].GradNorm)
					}
				}
			})
		}
	}
}

// beside trains on n ranks. The host of a simulated GPU waits once a step, after the first,
// which makes what all need.
func (i integration) beside(t *testing.T, n int, c *control.Driver) []metrics.Record {
	t.Helper()
	step := (*train.Trainer).Step
	if c != nil && n == 1 {
		step = func(tr *train.Trainer) (metrics.Record, error) {
			before := c.Count("host waits")
			r, err := tr.Step()
			if waits := c.Count("host waits") - before; err == nil && r.Step > 1 && waits != 1 {
				t.Errorf("in step %d the host waits %d times, want once", r.Step, waits)
			}
			return r, err
		}
	}
	byRank := i.train(t, n, i.steps, nil, step)
	if c != nil && c.Count("launches") == 0 {
		t.Fatal("nothing ran on a simulated GPU")
	}
	if c != nil {
		nothingBeside(t, c)
	}
	return byRank[0]
}

// nothingBeside: a rank loads no kernel, and takes and gives back no memory, while a collective that
// it has enqueued may wait for another rank.
func nothingBeside(t *testing.T, c *control.Driver) {
	t.Helper()
	for _, what := range []string{"modules beside collectives", "memory beside collectives"} {
		if n := c.Count(what); n != 0 {
			t.Errorf("%s: %d times, want never: each may wait for a rank that waits for this one", what, n)
		}
	}
}

// TestNothingIsLoadedBesideCollectives: in twenty steps of ranks that share weights, and that
// share layers.
func TestNothingIsLoadedBesideCollectives(t *testing.T) {
	for name, i := range map[string]integration{
		"weights": {args: recipes()[2].args, batch: 4, steps: 20},
		"layers":  {args: append(recipes()[0].args, recipes()[1].args...), batch: 4, steps: 20, tensor: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(ranks.DeviceVar, ranks.Sim)
			c := ranks.Simulated(t)
			i.train(t, 2, i.steps, nil, (*train.Trainer).Step)
			if c.Count("modules") == 0 || c.Count("allocations") == 0 {
				t.Fatal("nothing was loaded at all")
			}
			nothingBeside(t, c)
		})
	}
}

// TestTwoSimulatedGPUsTrainAsTwoRanksOnTheCPU: sharded, with weights that travel in float8, in
// whatever order the streams of both run, and without a race.
func TestTwoSimulatedGPUsTrainAsTwoRanksOnTheCPU(t *testing.T) {
	i := float8Gather()
	t.Setenv(ranks.DeviceVar, "")
	want := i.goroutines(t, 2)
	t.Setenv(ranks.DeviceVar, ranks.Sim)
	seeds := 1
	if os.Getenv("OCTET_HEAVY") != "" {
		seeds = 4 // TestSimulatedGPUsTrainAlikeInAnyOrder has more
	}
	for _, mode := range []string{"late", "lazy", "random"} {
		for seed := range seeds {
			t.Run(fmt.Sprint(mode, " ", seed), func(t *testing.T) {
				t.Setenv("SIM_MODE", mode)
				t.Setenv("SIM_SEED", fmt.Sprint(seed))
				for s, got := range i.goroutines(t, 2) {
					if off := math.Abs(got.Loss-want[s].Loss) / want[s].Loss; !(off <= i.near) {
						t.Errorf("step %d: loss %v, on the CPU %v: off by %.2g", s+1, got.Loss, want[s].Loss, off)
					}
				}
			})
			if mode == "late" {
				break // there is nothing to draw
			}
		}
	}
}
