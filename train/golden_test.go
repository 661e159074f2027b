// SPDX-License-Identifier: Apache-2.0

package train

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"

	"octet/comm"
	"octet/comm/local"
	"octet/config"
	"octet/device/cpu"
	"octet/metrics"
	"octet/models/llama/plan"
)

const golden = "../testdata/golden/"

// goldenArgs are the flags of the golden runs, for a global batch of 8 on world
// ranks, with more on top.
func goldenArgs(batch string, more ...string) []string {
	return append(strings.Fields(`--model.flavor=debugmodel --model.args.dim=64 --model.args.n_layers=2 --model.args.n_heads=4
		--model.args.n_kv_heads=2 --model.args.ffn_hidden_dim=192 --model.args.vocab_size=256 --model.args.use_scaled_rope=false
		--training.dataset=tokens --training.dataset_path=`+golden+`llama_tokens.u16 --training.seq_len=64 --training.steps=20
		--optimizer.lr=3e-3 --lr_scheduler.warmup_steps=0 --lr_scheduler.min_lr_factor=1
		--checkpoint.initial_load_path=`+golden+`llama_init.safetensors --training.local_batch_size=`+batch), more...)
}

var (
	f32Args = []string{"--training.mixed_precision_param=float32"}
	float8  = []string{"--model.converters=quantize.linear.float8", "--quantize.linear.float8.filter_fqns=output"}
	gather  = []string{"--quantize.linear.float8.enable_fsdp_float8_all_gather", "--quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp"}
	emulate = []string{"--quantize.linear.float8.emulate"}
)

func join(lists ...[]string) (all []string) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// memory is a Sink that keeps the records.
type memory struct{ records []metrics.Record }

func (m *memory) Step(r metrics.Record) { m.records = append(m.records, r) }
func (m *memory) Close() error          { return nil }

// runRanks trains on goroutine ranks and returns rank 0's records.
func runRanks(t *testing.T, world int, args []string) []metrics.Record {
	t.Helper()
	records, errs := tryRanks(t, local.New(world, local.Options{}), args)
	for rank, err := range errs {
		if err != nil {
			t.Fatalf("rank %d: %v", rank, err)
		}
	}
	return records
}

func tryRanks(t *testing.T, world []comm.Comm, args []string) ([]metrics.Record, []error) {
	t.Helper()
	cfg, err := config.Load(args)
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Check(cfg, len(world)); err != nil {
		t.Fatal(err)
	}
	sinks, errs := make([]memory, len(world)), make([]error, len(world))
	var wg sync.WaitGroup
	for rank, c := range world {
		wg.Go(func() {
			dev, err := cpu.Open(cpu.Options{})
			if err != nil {
				errs[rank] = err
				c.Abort(err)
				return
			}
			defer dev.Close()
			errs[rank] = Run(context.Background(), Job{Config: cfg, Device: dev, World: c, Log: zap.NewNop()}, &sinks[rank])
		})
	}
	wg.Wait()
	return sinks[0].records, errs
}

type curve struct {
	Steps []struct {
		Loss     float64 `json:"loss"`
		GradNorm float64 `json:"grad_norm"`
	} `json:"steps"`
	Loss     []float64 `json:"loss"`
	GradNorm []float64 `json:"grad_norm"`
}

// readCurve reads losses and norms of either kind of golden file.
func readCurve(t *testing.T, name string) curve {
	t.Helper()
	text, err := os.ReadFile(golden + name)
	if err != nil {
		t.Fatal(err)
	}
	var c curve
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	for _, s := range c.Steps {
		c.Loss, c.GradNorm = append(c.Loss, s.Loss), append(c.GradNorm, s.GradNorm)
	}
	return c
}

func relative(got, want float64) float64 { return math.Abs(got-want) / math.Abs(want) }

// within compares losses step by step, the first by its own bound.
func within(t *testing.T, got []metrics.Record, want []float64, first, rest float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d steps, want %d", len(got), len(want))
	}
	worst := 0.0
	for i, r := range got {
		bound := rest
		if i == 0 {
			bound = first
		}
		d := relative(r.Loss, want[i])
		worst = max(worst, d)
		if !(d <= bound) {
			t.Errorf("step %d: loss %.7f, want %.7f: off by %.2g, more than %.2g", i+1, r.Loss, want[i], d, bound)
		}
	}
	t.Logf("worst relative difference %.2g", worst)
}

// TestLossesArePyTorchs holds the bars against the golden runs, on one rank and
// on two.
func TestLossesArePyTorchs(t *testing.T) {
	for _, tt := range []struct {
		name, golden string
		args         []string
		first, rest  float64
	}{
		{"f32", "llama_f32.json", f32Args, 2e-5, 2e-5},
		{"tensorwise", "llama_tensorwise.json", join(f32Args, float8, emulate), 1e-4, 2e-3},
		{"tensorwise, not emulated", "llama_tensorwise.json", join(f32Args, float8), 1e-4, 2e-3},
		{"fsdp2 f32", "llama_fsdp2_f32.json", f32Args, 2e-5, 2e-5},
		{"fsdp2 tensorwise gather", "llama_fsdp2_tensorwise_gather.json", join(f32Args, float8, gather, emulate), 1e-4, 2e-3},
		{"fsdp2 bf16", "llama_fsdp2_bf16.json", nil, 1e-4, 2e-3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := readCurve(t, tt.golden).Loss
			within(t, runRanks(t, 1, goldenArgs("8", tt.args...)), want, tt.first, tt.rest)
			within(t, runRanks(t, 2, goldenArgs("4", tt.args...)), want, tt.first, tt.rest)
		})
	}
}
