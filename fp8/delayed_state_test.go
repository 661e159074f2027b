// SPDX-License-Identifier: Apache-2.0

package fp8_test

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/nn"
	"octet/nn/nntest"
	"octet/tensor"
	"octet/test/ranks"
)

// castsCounted is a stream that counts casts by a given scale, those of them that are
// recorded, and amaxes taken for a scale.
type castsCounted struct {
	device.Stream
	n, records, scales int
}

func (c *castsCounted) RecordCast(dst, dstT, src, given tensor.Operand, record *tensor.Tensor) {
	c.n++
	if record != nil {
		c.records++
	}
	c.Stream.RecordCast(dst, dstT, src, given, record)
}

func (c *castsCounted) Amax(dst *tensor.Tensor, parts []*tensor.Tensor) {
	c.scales++
	c.Stream.Amax(dst, parts)
}

// alone is a Caster that no other serves.
type alone struct{ nn.Caster }

func (alone) Serves(nn.Caster, nn.Role, nn.Role) bool { return false }
func (a alone) Buffers() iter.Seq2[string, *nn.Buffer] {
	return a.Caster.(nn.Stateful).Buffers()
}

// shareNothing has every Linear below m cast what it needs itself.
func shareNothing(m nn.Module) {
	for _, l := range fp8.Linears(m) {
		l.Linear.Caster = alone{l.Linear.Caster}
	}
}

// feedForward is a SwiGLU of which w1 and w3 have one input.
func feedForward(dim, hidden int) nn.Module {
	linear := func(in, out int) nn.Module { return nn.NewLinear(in, out, nn.LinearOptions{}) }
	return &nn.FeedForward{W1: linear(dim, hidden), W3: linear(dim, hidden), W2: linear(hidden, dim)}
}

// set writes a buffer.
func (r *rig) set(name string, values ...float32) {
	r.Helper()
	for n, b := range nn.Buffers(r.model) {
		if n == name {
			b.Set(r.Ctx.Stream, values)
			return
		}
	}
	r.Fatalf("there is no buffer %q", name)
}

// TestEqualHistoriesShareACast: w1 and w3 cast their input once as long as their histories
// are equal, and what comes of it is what separate casts give. Whether they are is decided
// when state is loaded.
func TestEqualHistoriesShareACast(t *testing.T) {
	const dim, hidden, tokens = 16, 32, 16
	const together, apart = 11, 12 // of x, h, three weights twice, three gradients
	run := func(share bool, amaxInit bool, load func(r *rig, step int)) (casts []int, seen []string) {
		m := feedForward(dim, hidden)
		r := newRig(t, ranks.Options{}, dtype.BFloat16, m, delayed(func(c *fp8.Float8LinearConfig) {
			c.EnableAmaxInit, c.DelayedScalingConfig.HistoryLen = amaxInit, 2
		}))
		count := &castsCounted{Stream: r.Ctx.Stream}
		r.Ctx.Stream = count
		if !share {
			shareNothing(m)
		}
		for step := range 6 {
			if load != nil {
				load(r, step)
			}
			count.n = 0
			for range 2 { // microbatches
				x := nn.Watch(r.As(dtype.BFloat16, r.Normal(tokens*dim, math.Exp(float64(step%3))), tokens, dim))
				y := r.Pass(m, x, r.Normal(tokens*dim, 1))
				seen = append(seen, fmt.Sprint(y, r.Get(x.Grad().Tensor)))
				x.FreeGrad(r.Ctx)
			}
			casts = append(casts, count.n)
			r.sync()
			seen = append(seen, r.state())
		}
		return casts, seen
	}
	for _, init := range []bool{true, false} {
		casts, shared := run(true, init, nil)
		if want := slices.Repeat([]int{2 * together}, 6); !slices.Equal(casts, want) {
			t.Errorf("casts of each step %v, want %v", casts, want)
		}
		if _, separate := run(false, init, nil); !slices.Equal(shared, separate) {
			t.Error("shared casts give other values, or another state, than separate ones")
		}
		// w3's history becomes another one, and in the end w1's is made equal to it.
		load := func(r *rig, step int) {
			switch step {
			case 2:
				r.set("w3.fp8_amax_history_input", 40, 0)
				r.set("w3.fp8_scale_input", 448/40.)
			case 5:
				for _, b := range []string{"amax_history_input", "scale_input"} {
					values := r.buffer("w3.fp8_" + b)
					r.set("w1.fp8_"+b, values...)
					r.set("w3.fp8_"+b, values...) // what was loaded is compared with what was loaded
				}
			}
		}
		casts, shared = run(true, init, load)
		if want := []int{2 * together, 2 * together, 2 * apart, 2 * apart, 2 * apart, 2 * together}; !slices.Equal(casts, want) {
			t.Errorf("with other histories from step 3 to 5 casts of each step %v, want %v", casts, want)
		}
		if _, separate := run(false, init, load); !slices.Equal(shared, separate) {
			t.Error("where histories differ for a while shared casts give other values, or another state, than separate ones")
		}
	}
}

// TestWhoDidNotRunSharesNoMore: after a step in which w1 ran and w3 did not, their scales
// differ, in evaluation too.
func TestWhoDidNotRunSharesNoMore(t *testing.T) {
	run := func(share bool) string {
		m := feedForward(16, 32)
		r := newRig(t, ranks.Options{}, dtype.Float32, m, delayed(func(*fp8.Float8LinearConfig) {}))
		if !share {
			shareNothing(m)
		}
		r.step(1.1, 1)
		r.Pass(m.(*nn.FeedForward).W1, nn.Input(r.ones(5)), slices.Repeat([]float32{1}, 16*32))
		r.sync()
		r.Ctx.Mode = nn.Eval
		return fmt.Sprint(r.Get(nn.Scoped(r.Ctx, m, nn.Input(r.ones(0.7))).Value.Tensor))
	}
	if shared, separate := run(true), run(false); shared != separate {
		t.Errorf("evaluated: %.40s…, want %.40s…", shared, separate)
	}
}

// TestASharedFirstScaleIsOnesOwn: a Linear whose first scale came with the cast of another
// casts by it when it is asked for one of its own in the same step.
func TestASharedFirstScaleIsOnesOwn(t *testing.T) {
	run := func(share bool) string {
		m := feedForward(16, 32)
		r := newRig(t, ranks.Options{}, dtype.Float32, m, delayed(func(*fp8.Float8LinearConfig) {}))
		if !share {
			shareNothing(m)
		}
		r.Pass(m, nn.Input(r.ones(3.3)), slices.Repeat([]float32{1}, 256))
		w3 := m.(*nn.FeedForward).W3
		return fmt.Sprint(r.Pass(w3, nn.Input(r.ones(1.1)), slices.Repeat([]float32{1}, 16*32)))
	}
	if shared, separate := run(true), run(false); shared != separate {
		t.Errorf("after a shared cast w3 computes %.40s…, want %.40s…", shared, separate)
	}
}

// TestStateIsLoaded: a model that is given another's buffers goes on as that one; with a
// longer or shorter history it keeps the newest entries; without any it starts as a new
// one.
func TestStateIsLoaded(t *testing.T) {
	const length = 3
	start := func(length int, emulate bool) *rig {
		return newRig(t, ranks.Options{}, dtype.Float32, nn.NewLinear(16, 16, nn.LinearOptions{}), delayed(func(c *fp8.Float8LinearConfig) { c.DelayedScalingConfig.HistoryLen, c.Emulate = length, emulate }))
	}
	products := func(r *rig) string {
		return fmt.Sprint(r.Pass(r.model, nn.Input(r.ones(1.1)), slices.Repeat([]float32{1.1}, 256)))
	}
	for _, emulate := range []bool{true, false} {
		saved := start(length, emulate)
		for _, x := range []float32{5, 7, 6, 4} {
			saved.step(x, x)
		}
		buffers := map[string][]float32{}
		for name, b := range nn.Buffers(saved.model) {
			buffers[name] = saved.Get(b.Tensor)
		}
		if want := []float32{4, 6, 7}; !slices.Equal(buffers["fp8_amax_history_input"], want) {
			t.Fatalf("history %v, want %v", buffers["fp8_amax_history_input"], want)
		}
		load := func(into *rig) {
			for name, values := range buffers {
				into.set(name, values...)
			}
		}
		for _, n := range []int{length, 1, 5} {
			loaded := start(n, emulate)
			if n == 1 {
				loaded.step(1000, 1000) // what it had before does not matter
			}
			load(loaded)
			want := append(slices.Clone(buffers["fp8_amax_history_input"]), 0, 0)[:n]
			if got := loaded.buffer("fp8_amax_history_input"); !slices.Equal(got, want) {
				t.Errorf("history of %d loaded as %v, want %v", n, got, want)
			}
			if n == length {
				if loaded.state() != saved.state() {
					t.Errorf("loaded\n%ssaved\n%s", loaded.state(), saved.state())
				}
				if got, want := products(loaded), products(saved); got != want {
					t.Errorf("emulate %v: a loaded model computes %.40s…, want %.40s…", emulate, got, want)
				}
				saved.step(5, 5)
				loaded.step(5, 5)
				if loaded.state() != saved.state() || products(loaded) != products(saved) {
					t.Errorf("a step later\n%swithout loading\n%s", loaded.state(), saved.state())
				}
				continue
			}
			// The scale is the one that was saved: 1.1 cast by it is not 1.1 cast by its own.
			dynamic := start(n, emulate)
			if products(loaded) == products(dynamic) {
				t.Error("a model with a loaded history starts with the amax of its first batch")
			}
		}
		fresh, reset := start(length, emulate), start(length, emulate)
		load(reset)
		for name := range buffers {
			reset.set(name)
		}
		if reset.state() != fresh.state() || products(reset) != products(fresh) {
			t.Error("a model that was loaded without buffers is not as a new one")
		}
	}
}

// TestBuffersAreTorchaos: names, shapes and first values, where any cast is delayed.
func TestBuffersAreTorchaos(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*fp8.Float8LinearConfig)
		want   string
	}{
		"dynamic": {func(*fp8.Float8LinearConfig) {}, ""},
		"delayed weight": {func(c *fp8.Float8LinearConfig) {
			c.CastConfigWeight, c.DelayedScalingConfig.HistoryLen = cast(fp8.Delayed, fp8.Tensorwise), 3
		}, `up.fp8_amax_input [1] [448]
up.fp8_amax_history_input [3] [0 0 0]
up.fp8_scale_input [1] [1]
up.fp8_amax_weight [1] [448]
up.fp8_amax_history_weight [3] [0 0 0]
up.fp8_scale_weight [1] [1]
up.fp8_amax_grad_output [1] [57344]
up.fp8_amax_history_grad_output [3] [0 0 0]
up.fp8_scale_grad_output [1] [1]
`},
	} {
		model := &nn.Sequential{Names: []string{"up", "output"}, Modules: []nn.Module{nn.NewLinear(16, 16, nn.LinearOptions{}), nn.NewLinear(16, 10, nn.LinearOptions{})}}
		r := newRig(t, ranks.Options{}, dtype.BFloat16, model, configured(tt.change))
		var got strings.Builder
		for name, b := range nn.Buffers(model) {
			fmt.Fprintln(&got, name, b.Shape, r.Get(b.Tensor))
		}
		if got.String() != tt.want {
			t.Errorf("%s: buffers\n%swant\n%s", name, got.String(), tt.want)
		}
	}
}

// TestWithoutMemoryADelayedCastIsRefused by the name of the call that is missing.
func TestWithoutMemoryADelayedCastIsRefused(t *testing.T) {
	l := nn.NewLinear(16, 16, nn.LinearOptions{})
	if _, err := fp8.ConvertToFloat8Training(l, delayed(func(*fp8.Float8LinearConfig) {}), fp8.FilterFQNs()); err != nil {
		t.Fatal(err)
	}
	r := nntest.New(t, ranks.Device(t, ranks.Options{}), dtype.Float32)
	r.Load(l, r.Random)
	defer func() {
		if said := fmt.Sprint(recover()); !strings.Contains(said, "call Scales.Allocate") {
			t.Errorf("panic %s, want one that names Scales.Allocate", said)
		}
	}()
	l.Forward(r.Ctx, nn.Input(r.Put(make([]float32, 256), 16, 16)))
}
