// SPDX-License-Identifier: Apache-2.0

package train

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"octet/checkpoint/safetensors"
	"octet/metrics"
	"octet/nn"
	"octet/test/ranks"
)

const golden = "../testdata/golden/"

// goldenArgs are the flags of the golden runs, for a global batch of 8 on world
// ranks, with more on top, which may say a flag anew.
func goldenArgs(batch string, more ...string) []string {
	args := strings.Fields(`--model.flavor=debugmodel --model.args.dim=64 --model.args.n_layers=2 --model.args.n_heads=4
		--model.args.n_kv_heads=2 --model.args.ffn_hidden_dim=192 --model.args.vocab_size=256 --model.args.use_scaled_rope=false
		--training.dataset=tokens --training.dataset_path=` + golden + `llama_tokens.u16 --training.seq_len=64 --training.steps=20
		--optimizer.lr=3e-3 --lr_scheduler.warmup_steps=0 --lr_scheduler.min_lr_factor=1
		--checkpoint.initial_load_path=` + golden + `llama_init.safetensors --training.local_batch_size=` + batch)
	for _, flag := range more {
		name, _, _ := strings.Cut(flag, "=")
		args = slices.DeleteFunc(args, func(a string) bool { return strings.HasPrefix(a, name+"=") })
	}
	return append(args, more...)
}

var (
	f32Args = []string{"--training.mixed_precision_param=float32"}
	float8  = []string{"--model.converters=quantize.linear.float8", "--quantize.linear.float8.filter_fqns=output"}
	gather  = []string{"--quantize.linear.float8.enable_fsdp_float8_all_gather", "--quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp"}
	emulate = []string{"--quantize.linear.float8.emulate"}
)

// named is the flag of a recipe.
func named(recipe string) []string { return []string{"--quantize.linear.float8.recipe_name=" + recipe} }

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
func runRanks(t *testing.T, n int, args []string) []metrics.Record {
	t.Helper()
	records, errs := tryRanks(t, ranks.Open(t, n, ranks.Options{}), args)
	for rank, err := range errs {
		if err != nil {
			t.Fatalf("rank %d: %v", rank, err)
		}
	}
	return records
}

func tryRanks(t *testing.T, list []*ranks.Rank, args []string) ([]metrics.Record, []error) {
	t.Helper()
	run := resolved(t, len(list), args)
	sinks := make([]memory, len(list))
	errs := ranks.Each(list, func(r *ranks.Rank) error {
		return Run(context.Background(), Job{Run: run, Device: r.Device, World: r.World, Log: zap.NewNop()}, &sinks[r.Rank])
	})
	return sinks[0].records, errs
}

// curve is what a run shows of its arithmetic: loss and gradient norm of every
// step, and the gradients of the first, before clipping.
type curve struct {
	Loss     []float64            `json:"loss"`
	GradNorm []float64            `json:"grad_norm"`
	Grad     map[string][]float32 `json:"-"`
}

// readCurve reads a golden run.
func readCurve(t *testing.T, name string) curve {
	t.Helper()
	text, err := os.ReadFile(golden + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		curve
		Steps []struct {
			Loss     float64 `json:"loss"`
			GradNorm float64 `json:"grad_norm"`
		} `json:"steps"` // as runs of one process have it
	}
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	for _, s := range c.Steps {
		c.Loss, c.GradNorm = append(c.Loss, s.Loss), append(c.GradNorm, s.GradNorm)
	}
	c.Grad = map[string][]float32{}
	set := openGolden(t, name+"_step1.safetensors")
	for _, n := range set.Names() {
		param, ok := strings.CutPrefix(n, "grad.")
		if !ok {
			continue
		}
		info, raw, err := set.Tensor(n)
		if err != nil {
			t.Fatal(err)
		}
		c.Grad[param] = make([]float32, len(raw)/info.DType.Size())
		if err := safetensors.DecodeFloat32(c.Grad[param], info.DType, raw); err != nil {
			t.Fatal(err)
		}
	}
	return c.curve
}

// trainCurve trains for some steps; alter, if not nil, changes each rank's model
// before the first.
func trainCurve(t *testing.T, ranks, steps int, args []string, alter func(nn.Module) error) curve {
	t.Helper()
	c := curve{Grad: map[string][]float32{}}
	parts := make([]map[string][]float32, ranks)
	for rank, err := range onRanks(t, ranks, args, func(rank int, tr *Trainer) error {
		if alter != nil {
			if err := alter(tr.model.Root()); err != nil {
				return err
			}
		}
		for step := range steps {
			r, err := tr.Step()
			if err != nil {
				return err
			}
			if rank == 0 {
				c.Loss, c.GradNorm = append(c.Loss, r.Loss), append(c.GradNorm, r.GradNorm)
			}
			if step > 0 {
				continue
			}
			parts[rank] = map[string][]float32{}
			for _, p := range tr.model.Params() {
				if parts[rank][p.Name], err = read(tr, p.LocalGrad()); err != nil {
					return err
				}
			}
		}
		return nil
	}) {
		if err != nil {
			t.Fatalf("rank %d: %v", rank, err)
		}
	}
	for _, part := range parts {
		for name, rows := range part {
			c.Grad[name] = append(c.Grad[name], rows...)
		}
	}
	return c
}

func relative(got, want float64) float64 { return math.Abs(got-want) / math.Abs(want) }

// distance is |a - b| as vectors.
func distance(a, b []float32) float64 {
	var sum float64
	for i := range b {
		e := float64(a[i]) - float64(b[i])
		sum += e * e
	}
	return math.Sqrt(sum)
}

// bounds are how far a run may be from a golden one: losses and gradient norms,
// relative, of the first step, of steps 2 to 4 and of the others, and the
// gradients of the first step.
//
// A gradient's distance is measured by what the golden arithmetic rounds away:
// |g - golden| / |f32 - golden|, where f32 is the same run in float32. So it is 0
// for the same roundings, 1 for none, about √2 for as many others. For a run in
// float32 it is relative to the gradient's norm. It is the median over the
// parameters that counts: single roundings that fall the other way spread to a
// few gradients, another arithmetic to all.
type bounds struct {
	loss, norm [3]float64
	grad       float64
	whole      float64 // of all gradients of the first step as one vector, relative to its norm; 0: any
	any        int     // a step whose gradient norm may be any
}

// deviation is the distance of a run from a golden one in one respect, in bounds.
type deviation struct {
	what       string
	off, bound float64
}

func (d deviation) String() string {
	return fmt.Sprintf("%s: off by %.2g, bound %.2g", d.what, d.off, d.bound)
}

// ratio is at most 1 within bounds.
func (d deviation) ratio() float64 {
	if r := d.off / d.bound; r >= 0 {
		return r
	}
	return math.Inf(1)
}

// worst is in what got, of some steps, is farthest from want, for its bound.
func (b bounds) worst(got, want curve, f32 map[string][]float32) (worst deviation) {
	if len(got.Grad) != len(want.Grad) {
		return deviation{what: fmt.Sprintf("%d gradients, want %d", len(got.Grad), len(want.Grad)), off: math.Inf(1)}
	}
	compare := func(off, bound float64, format string, args ...any) {
		if d := (deviation{fmt.Sprintf(format, args...), off, bound}); d.ratio() > worst.ratio() || worst.what == "" {
			worst = d
		}
	}
	for i := range got.Loss {
		part := min(i, 1)
		if i >= 4 {
			part = 2
		}
		compare(relative(got.Loss[i], want.Loss[i]), b.loss[part], "loss of step %d", i+1)
		if i+1 != b.any {
			compare(relative(got.GradNorm[i], want.GradNorm[i]), b.norm[part], "gradient norm of step %d", i+1)
		}
	}
	var off []float64
	var apart, norm float64
	for name, w := range want.Grad {
		apart += math.Pow(distance(got.Grad[name], w), 2)
		norm += math.Pow(distance(make([]float32, len(w)), w), 2)
		base := f32[name]
		if f32 == nil {
			base = make([]float32, len(w))
		}
		off = append(off, distance(got.Grad[name], w)/distance(base, w))
	}
	if b.whole > 0 {
		compare(math.Sqrt(apart/norm), b.whole, "all gradients of step 1")
	}
	slices.Sort(off)
	compare(off[len(off)/2], b.grad, "gradients of step 1")
	return worst
}
