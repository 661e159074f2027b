// SPDX-License-Identifier: Apache-2.0

package multigpu

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"octet/comm/record"
	"octet/config"
	"octet/metrics"
	"octet/test/ranks"
	"octet/test/sim/control"
	"octet/train"
	"octet/train/preflight"
)

// graphed is a run of one GPU.
type graphed struct {
	*control.Driver // of a simulated one; nil
	records         []metrics.Record
	losses          []float64 // of validations
	told            []string
	log             record.Log
	calls           []int // of kernels, in each step
}

// launches are those of kernels that the host has called so far, where that is counted.
func (g *graphed) launches() int {
	if g.Driver == nil {
		return 0
	}
	return g.Count("launches")
}

// graphRun trains on one rank, with evaluations behind the steps that the configuration names.
func graphRun(t *testing.T, i integration, graph bool) (g *graphed) {
	t.Helper()
	g = &graphed{}
	if os.Getenv(ranks.DeviceVar) != "cuda" {
		t.Setenv(ranks.DeviceVar, ranks.Sim)
		g.Driver = ranks.Simulated(t)
	}
	flags := append(i.flags(t, 1, t.TempDir()), "--device.name=cuda")
	if graph {
		flags = append(flags, "--device.cuda_graph")
	}
	cfg, err := config.Load(flags)
	if err != nil {
		t.Fatal(err)
	}
	run, err := preflight.Check(cfg, 1, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.WarnLevel)
	ranks.Run(t, 1, ranks.Options{}, func(r *ranks.Rank) error {
		trainer, err := train.New(train.Job{Run: run, Device: r.Device, World: r.World, Log: zap.New(core), Record: &g.log})
		if err != nil {
			return err
		}
		for range i.steps {
			before := g.launches()
			done, err := trainer.Step()
			if err != nil {
				return err
			}
			g.calls = append(g.calls, g.launches()-before)
			g.records = append(g.records, done)
			if cfg.Validation.Enable && done.Step%cfg.Validation.Freq == 0 {
				v, err := trainer.Validate()
				if err != nil {
					return err
				}
				g.losses = append(g.losses, v.Loss)
			}
		}
		return trainer.Close()
	})
	for _, entry := range logs.All() {
		g.told = append(g.told, entry.Message)
	}
	return g
}

// same fails where two runs did not come to the same bits.
func (g *graphed) same(t *testing.T, want *graphed) {
	t.Helper()
	if len(g.records) != len(want.records) {
		t.Fatalf("%d steps, want %d", len(g.records), len(want.records))
	}
	for s, r := range g.records {
		if w := want.records[s]; r.Loss != w.Loss || r.GradNorm != w.GradNorm || r.CommBytes != w.CommBytes {
			t.Errorf("step %d: loss %v, norm %v, %d bytes; without a graph %v, %v, %d", s+1, r.Loss, r.GradNorm, r.CommBytes, w.Loss, w.GradNorm, w.CommBytes)
		}
	}
	if !slices.Equal(g.losses, want.losses) {
		t.Errorf("validations %v, without a graph %v", g.losses, want.losses)
	}
}

// counted fails where they counted other collectives.
func (g *graphed) counted(t *testing.T, want *graphed) {
	t.Helper()
	if got, want := fmt.Sprint(g.log.Totals()), fmt.Sprint(want.log.Totals()); got != want {
		t.Errorf("counted %s\nwithout a graph %s", got, want)
	}
}

// TestAStepAsAGraph: the same losses and norms, bit for bit, in every recipe, with several microbatches, what is computed again in
// backward, and validations before and after the capture, in any order of streams.
func TestAStepAsAGraph(t *testing.T) {
	const validated = "--validation.enable --validation.dataset=tokens --validation.dataset_path=../../testdata/golden/llama_tokens.u16 --validation.local_batch_size=3 --validation.seq_len=16 --validation.freq=2 --validation.steps=2"
	const renewed = "without precomputed scales"
	type variant struct {
		name  string
		light bool
		modes []string
		args  []string
	}
	var all []variant
	for _, r := range recipes() {
		all = append(all, variant{r.name, r.name != "rowwise" && r.name != "rowwise_with_gw_hp", nil, r.args})
	}
	tensorwise := recipes()[2].args
	all = append(all,
		variant{renewed, true, nil, tensorwise[:len(tensorwise)-1]},
		variant{"microbatches in any order", true, []string{"lazy 0", "random 1"}, append([]string{"--training.local_batch_size=2"}, tensorwise...)},
		variant{"recomputed", false, nil, append([]string{"--activation_checkpoint.mode=full"}, tensorwise...)},
		variant{"statistics", true, nil, append([]string{"--debug.float8_stats", "--metrics.log_freq=5"}, tensorwise...)},
	)
	for _, v := range all {
		t.Run(v.name, func(t *testing.T) {
			if !v.light && !heavy() {
				t.Skip("OCTET_HEAVY=1 runs it")
			}
			i := integration{batch: 4, steps: 6, args: append(strings.Fields(validated), v.args...)}
			want := graphRun(t, i, false)
			for _, mode := range append([]string{"late 0"}, v.modes...) {
				t.Run(mode, func(t *testing.T) {
					how, seed, _ := strings.Cut(mode, " ")
					t.Setenv("SIM_MODE", how)
					t.Setenv("SIM_SEED", seed)
					got := graphRun(t, i, true)
					got.same(t, want)
					if v.name != renewed { // it makes those again that a validation has made
						got.counted(t, want)
					}
					launches := i.steps - 2
					if v.name == "statistics" {
						launches -= 2 // steps 1 and 5 are looked at
					}
					if n := got.Count("graph launches"); n != launches || len(got.told) > 0 {
						t.Errorf("%d launches of a graph, want %d; told %q", n, launches, got.told)
					}
					if last := i.steps - 1; got.calls[last] > got.calls[1]/5 {
						t.Errorf("the host launches %d kernels in the last step, %d in the second", got.calls[last], got.calls[1])
					}
				})
			}
		})
	}
}

// TestHardwareStepsAsGraphs: on a GPU, in bf16 and in float8.
func TestHardwareStepsAsGraphs(t *testing.T) {
	if os.Getenv(ranks.DeviceVar) != "cuda" {
		t.Skip(ranks.DeviceVar + "=cuda runs it on a GPU")
	}
	for _, r := range recipes()[1:] {
		t.Run(r.name, func(t *testing.T) {
			i := integration{batch: 4, steps: 20, args: append([]string{"--training.local_batch_size=2"}, r.args...)}
			if testing.Short() {
				i.steps = 4
			}
			got := graphRun(t, i, true)
			got.same(t, graphRun(t, i, false))
			if len(got.told) > 0 {
				t.Errorf("told %q", got.told)
			}
		})
	}
}

// TestAStepThatIsNotCapturedRunsAsEver: whatever of the capture fails, that is told once.
func TestAStepThatIsNotCapturedRunsAsEver(t *testing.T) {
	i := integration{batch: 4, steps: 5, args: recipes()[5].args}
	want := graphRun(t, i, false)
	for fault, why := range map[string]string{
		"GraphInstantiateWithFlags@0:oom": "CUDA_ERROR_OUT_OF_MEMORY (2)",
		"rmsnorm#12@0:error=900":          "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED (900)", // of five a step
	} {
		t.Run(fault, func(t *testing.T) {
			t.Setenv("SIM_FAULT", fault)
			got := graphRun(t, i, true)
			got.same(t, want)
			got.counted(t, want)
			if len(got.told) != 1 || !strings.HasPrefix(got.told[0], "step 3: device.cuda_graph has no effect from here on, which changes no number: cuda: ") || !strings.Contains(got.told[0], why) {
				t.Errorf("told %q", got.told)
			}
			if n := got.Count("graph launches"); n != 0 {
				t.Errorf("%d launches of a graph", n)
			}
		})
	}
}
