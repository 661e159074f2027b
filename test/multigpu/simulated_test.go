// SPDX-License-Identifier: Apache-2.0

package multigpu

import (
	"fmt"
	"math"
	"os"
	"testing"

	"go.uber.org/zap"

	"octet/config"
	"octet/metrics"
	"octet/test/ranks"
	"octet/test/sim/control"
	"octet/train"
	"octet/train/preflight"
)

// TestOneSimulatedGPUTrainsAsTheCPU: every recipe, with nothing running before the host waits,
// and no race. near is how far a loss may be from the CPU's, relatively.
func TestOneSimulatedGPUTrainsAsTheCPU(t *testing.T) {
	const float8 = "--model.converters=quantize.linear.float8"
	for _, tt := range []struct {
		name string
		near float64
		args []string
	}{
		{"float32", 1e-5, nil},
		{"bfloat16", 1e-2, []string{"--training.mixed_precision_param=bfloat16"}},
		{"tensorwise", 2e-2, []string{float8, "--quantize.linear.float8.filter_fqns=output"}},
		{"rowwise", 2e-2, []string{float8, "--quantize.linear.float8.filter_fqns=output", "--quantize.linear.float8.recipe_name=rowwise"}},
		{"rowwise_with_gw_hp", 2e-2, []string{float8, "--quantize.linear.float8.filter_fqns=output", "--quantize.linear.float8.recipe_name=rowwise_with_gw_hp"}},
		{"delayed", 2e-2, []string{float8, "--quantize.linear.float8.filter_fqns=output", "--quantize.linear.float8.recipe_name=delayed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(ranks.DeviceVar, "")
			want := integration{args: tt.args}.alone(t, nil)
			t.Setenv(ranks.DeviceVar, ranks.Sim)
			c := ranks.Simulated(t)
			got := integration{args: tt.args}.alone(t, c)
			for s := range want {
				if off := math.Abs(got[s].Loss-want[s].Loss) / want[s].Loss; !(off <= tt.near) {
					t.Errorf("step %d: loss %v, on the CPU %v: off by %.2g", s+1, got[s].Loss, want[s].Loss, off)
				}
			}
		})
	}
}

// alone trains on one rank; on a simulated GPU the host waits once a step.
func (i integration) alone(t *testing.T, c *control.Driver) (records []metrics.Record) {
	t.Helper()
	cfg, err := config.Load(i.flags(t, 1, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	run, err := preflight.Check(cfg, 1, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	ranks.Run(t, 1, ranks.Options{}, func(r *ranks.Rank) error {
		trainer, err := train.New(train.Job{Run: run, Device: r.Device, World: r.World, Log: zap.NewNop()})
		if err != nil {
			return err
		}
		for range steps {
			before := 0
			if c != nil {
				before = c.Count("host waits")
			}
			step, err := trainer.Step()
			if err != nil {
				return err
			}
			if c != nil && len(records) > 0 {
				if n := c.Count("host waits") - before; n != 1 {
					t.Errorf("in step %d the host waits %d times, want once", len(records)+1, n)
				}
			}
			records = append(records, step)
		}
		return trainer.Close()
	})
	if t.Failed() {
		t.FailNow()
	}
	return records
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
		seeds = 16
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
