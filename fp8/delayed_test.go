// SPDX-License-Identifier: Apache-2.0

package fp8_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"octet/dtype"
	"octet/fp8"
	"octet/nn"
	"octet/nn/nntest"
	"octet/tensor"
	"octet/test/golden"
	"octet/test/ranks"
)

// delayed is the recipe after a change.
func delayed(change func(*fp8.Float8LinearConfig)) fp8.Float8LinearConfig {
	c, err := fp8.ConfigFromRecipe(fp8.RecipeDelayed)
	if err != nil {
		panic(err)
	}
	change(&c)
	return c
}

// rig is a model with delayed scaling on one rank, by hand.
type rig struct {
	*nntest.Rig
	model  nn.Module
	scales fp8.Scales
}

// newRig converts m and gives it memory; its parameters are drawn.
func newRig(t *testing.T, o ranks.Options, act dtype.Type, m nn.Module, cfg fp8.Float8LinearConfig) *rig {
	t.Helper()
	if _, err := fp8.ConvertToFloat8Training(m, cfg, fp8.FilterFQNs("output")); err != nil {
		t.Fatal(err)
	}
	r := &rig{model: m}
	one := ranks.Open(t, 1, o)[0]
	r.Rig = nntest.New(t, one.Device, act)
	r.Load(m, r.Random)
	r.scales = fp8.ScalesOf(m)
	r.scales.Allocate(r.Ctx, one.World)
	return r
}

// buffer is a buffer's values.
func (r *rig) buffer(name string) []float32 {
	r.Helper()
	for n, b := range nn.Buffers(r.model) {
		if n == name {
			return r.Get(b.Tensor)
		}
	}
	r.Fatalf("there is no buffer %q", name)
	return nil
}

// state is all buffers, in words.
func (r *rig) state() string {
	var text strings.Builder
	for name, b := range nn.Buffers(r.model) {
		fmt.Fprintln(&text, name, r.Get(b.Tensor))
	}
	return text.String()
}

func (r *rig) sync() { r.scales.SyncFloat8AmaxAndScaleHistory(r.Ctx) }

// step is forward and backward of ones times x and dy, then the sync.
func (r *rig) step(x, dy float32) {
	r.Pass(r.model, nn.Input(r.ones(x)), slices.Repeat([]float32{dy}, 16*16))
	r.sync()
}

// TestDelayedIsTorchaos: six steps of a Linear in every instruction set, with a history of
// 3 and scales from 1 on. Its products have torchao's values, its state after each sync
// the bits that follow from the operands; the last is in the file too.
func TestDelayedIsTorchaos(t *testing.T) {
	const m, k, n = 32, 48, 64
	set := golden.Open(t, "delayed.safetensors")
	eachISA(t, func(t *testing.T, isa string) {
		for _, o := range []ranks.Options{{ISA: isa}, {ISA: isa, Float8TN: true}} {
			for _, emulate := range []bool{true, false} {
				l := nn.NewLinear(k, n, nn.LinearOptions{})
				r := newRig(t, o, dtype.Float32, l, delayed(func(c *fp8.Float8LinearConfig) {
					c.EnableAmaxInit, c.DelayedScalingConfig.HistoryLen, c.Emulate = false, 3, emulate
				}))
				r.Load(l, func(*nn.Param) []float32 { return set.Floats(t, "w") })
				for step := range 6 {
					of := func(name string) []float32 { return set.Floats(t, fmt.Sprintf("%d.%s", step, name)) }
					x := nn.Watch(r.Put(of("x"), m, k))
					y := r.Pass(l, x, of("dy"))
					// dX and dW sum in float32 everywhere, Y where nothing is fast.
					fast := isa == "avx512fp16" && !emulate
					for name, got := range map[string][]float32{"y": y, "dx": r.Get(x.Grad().Tensor), "dw": r.Grad(l.Weight)} {
						if off := compare(dtype.Float32, got, of(name), fast && name == "y"); off != "" {
							t.Errorf("%+v, emulate %v, step %d: %s: %s", o, emulate, step, name, off)
						}
					}
					r.sync()
					for kind, source := range map[string]string{"input": "x", "weight": "w", "grad_output": "dy"} {
						format := dtype.E4M3FN
						if kind == "grad_output" {
							format = dtype.E5M2
						}
						history := make([]float32, 3)
						for i := range min(3, step+1) {
							name := fmt.Sprintf("%d.%s", step-i, source)
							if source == "w" {
								name = source
							}
							history[i] = largest(set.Floats(t, name))
						}
						for b, want := range map[string][]float32{"amax_": history[:1], "amax_history_": history, "scale_": {format.Scale(slices.Max(history), false)}} {
							if got := r.buffer("fp8_" + b + kind); !slices.Equal(got, want) {
								t.Errorf("%+v, step %d: %s%s is %v, want %v", o, step, b, kind, got, want)
							}
							if file := of(strings.Replace(b, "amax_history", "history", 1) + kind); step == 5 && !slices.Equal(file, want) {
								t.Errorf("%s%s in the file is %v, want %v", b, kind, file, want)
							}
						}
					}
				}
			}
		}
	})
}

// largest is the amax of x.
func largest(x []float32) (amax float32) {
	for _, v := range x {
		amax = max(amax, float32(math.Abs(float64(v))))
	}
	return amax
}

// TestAHistoryIsKept is the sequence of amaxes whose scales upstream's last version, which
// kept no history, had wrong from the third step on; the first comes from amax init.
func TestAHistoryIsKept(t *testing.T) {
	r := newRig(t, ranks.Options{}, dtype.Float32, nn.NewLinear(16, 16, nn.LinearOptions{}), delayed(func(c *fp8.Float8LinearConfig) { c.DelayedScalingConfig.HistoryLen = 4 }))
	saw := &spy{Caster: r.model.(*nn.Linear).Caster, rig: r.Rig, bytes: map[nn.Role]string{}, scales: map[nn.Role][]float32{}}
	r.model.(*nn.Linear).Caster = saw
	buffers := saw.Caster.(nn.Stateful)
	get := func(name string) []float32 {
		for n, b := range buffers.Buffers() {
			if n == name {
				return r.Get(b.Tensor)
			}
		}
		return nil
	}
	for i, c := range []struct {
		amax    float32
		used    float32
		history []float32
		next    float32
	}{
		{6.5, 68.92308, []float32{6.5, 0, 0, 0}, 68.92308},
		{13, 68.92308, []float32{13, 6.5, 0, 0}, 34.46154},
		{1.625, 34.46154, []float32{1.625, 13, 6.5, 0}, 34.46154},
		{3.25, 34.46154, []float32{3.25, 1.625, 13, 6.5}, 34.46154},
		{0.8125, 34.46154, []float32{0.8125, 3.25, 1.625, 13}, 34.46154},
		{0.8125, 34.46154, []float32{0.8125, 0.8125, 3.25, 1.625}, 137.84616},
		{0.8125, 137.84616, []float32{0.8125, 0.8125, 0.8125, 3.25}, 137.84616},
	} {
		r.step(c.amax, 1)
		if used := saw.scales[nn.In][0]; used != c.used {
			t.Errorf("step %d: cast by %v, want %v", i+1, used, c.used)
		}
		if history, scale, amax := get("fp8_amax_history_input"), get("fp8_scale_input"), get("fp8_amax_input"); !slices.Equal(history, c.history) || scale[0] != c.next || amax[0] != c.amax {
			t.Errorf("step %d: history %v, amax %v, scale %v; want %v, %v, %v", i+1, history, amax, scale, c.history, c.amax, c.next)
		}
	}
}

// TestTheFirstScale: with amax init the first step is that of dynamic scaling, to the bit;
// without, operands are cast as they are. The second, of the same data, is that of dynamic
// scaling in both.
func TestTheFirstScale(t *testing.T) {
	passes := func(cfg fp8.Float8LinearConfig) (each [2][]float32) {
		l := nn.NewLinear(32, 48, nn.LinearOptions{})
		r := newRig(t, ranks.Options{}, dtype.BFloat16, l, cfg)
		in, dy := r.As(dtype.BFloat16, r.Normal(16*32, 300), 16, 32), r.Normal(16*48, 1)
		for i := range each {
			x := nn.Watch(in)
			y := r.Pass(l, x, dy)
			each[i] = slices.Concat(y, r.Get(x.Grad().Tensor), r.Grad(l.Weight))
			x.FreeGrad(r.Ctx)
			r.sync()
		}
		return each
	}
	dynamic := passes(fp8.DefaultConfig())
	with := passes(delayed(func(*fp8.Float8LinearConfig) {}))
	without := passes(delayed(func(c *fp8.Float8LinearConfig) { c.EnableAmaxInit = false }))
	if !slices.Equal(with[0], dynamic[0]) {
		t.Error("with amax init the first step is not that of dynamic scaling")
	}
	if slices.Equal(without[0], dynamic[0]) {
		t.Error("without amax init the first step is that of dynamic scaling")
	}
	if !slices.Equal(with[1], dynamic[1]) || !slices.Equal(without[1], dynamic[1]) {
		t.Error("the second step of the same data is not that of dynamic scaling")
	}
	r := newRig(t, ranks.Options{}, dtype.Float32, nn.NewLinear(16, 16, nn.LinearOptions{}), delayed(func(c *fp8.Float8LinearConfig) { c.EnableAmaxInit = false }))
	if y := r.Pass(r.model, nn.Input(r.ones(1000)), make([]float32, 256)); !(nntest.Off(y, r.Pass(r.model, nn.Input(r.ones(448)), make([]float32, 256))) == 0) {
		t.Error("without amax init 1000 is not saturated to 448 in the first step")
	}
}

// ones is x, [16,16] of it.
func (r *rig) ones(x float32) *tensor.Tensor { return r.Put(slices.Repeat([]float32{x}, 256), 16, 16) }

// TestASyncThatIsForgottenIsFound at the first cast after the optimizer has moved the
// weight, unless the check is off. Before any cast a sync changes nothing.
func TestASyncThatIsForgottenIsFound(t *testing.T) {
	const want = "float8: up: delayed scaling was not synced before the optimizer's step; call SyncFloat8AmaxAndScaleHistory between backward and the step"
	for _, check := range []bool{true, false} {
		up := nn.NewLinear(16, 16, nn.LinearOptions{})
		model := &nn.Sequential{Names: []string{"up"}, Modules: []nn.Module{up}}
		r := newRig(t, ranks.Options{}, dtype.Float32, model, delayed(func(c *fp8.Float8LinearConfig) { c.EnablePreAndPostForward = check }))
		first := r.state()
		r.sync()
		if got := r.state(); got != first {
			t.Errorf("an early sync makes\n%sof\n%s", got, first)
		}
		r.step(1, 1)
		up.Weight.Written()
		r.step(1, 1) // synced: nothing to find
		r.Pass(model, nn.Input(r.ones(1)), make([]float32, 256))
		r.Pass(model, nn.Input(r.ones(1)), make([]float32, 256)) // a second microbatch
		up.Weight.Written()
		said := func() (said any) {
			defer func() { said = recover() }()
			r.Pass(model, nn.Input(r.ones(1)), make([]float32, 256))
			return nil
		}()
		if check && said != want || !check && said != nil {
			t.Errorf("check %v: panic %v, want %s", check, said, want)
		}
	}
}

// TestEvaluationChangesNothing that training reads: before the first step it scales
// dynamically, later by the scales that there are.
func TestEvaluationChangesNothing(t *testing.T) {
	eval := func(r *rig, x float32) []float32 {
		r.Ctx.Mode = nn.Eval
		defer func() { r.Ctx.Mode = nn.Train }()
		return r.Get(nn.Scoped(r.Ctx, r.model, nn.Input(r.ones(x))).Value.Tensor)
	}
	for _, init := range []bool{true, false} {
		cfg := delayed(func(c *fp8.Float8LinearConfig) { c.EnableAmaxInit = init })
		with, without := newRig(t, ranks.Options{}, dtype.Float32, nn.NewLinear(16, 16, nn.LinearOptions{}), cfg), newRig(t, ranks.Options{}, dtype.Float32, nn.NewLinear(16, 16, nn.LinearOptions{}), cfg)
		dynamic := newRig(t, ranks.Options{}, dtype.Float32, nn.NewLinear(16, 16, nn.LinearOptions{}), fp8.DefaultConfig())
		if got, want := eval(with, 1000), eval(dynamic, 1000); !slices.Equal(got, want) {
			t.Error("before the first step evaluation does not scale dynamically")
		}
		for range 3 {
			with.step(2, 3)
			eval(with, 1000)
			without.step(2, 3)
			if with.state() != without.state() {
				t.Errorf("after evaluation the state is\n%swithout it\n%s", with.state(), without.state())
			}
		}
		// The history's largest is 2: 1000 is saturated.
		if got, want := eval(with, 1000), eval(with, 2); nntest.Off(got, want) > 0 {
			t.Error("evaluation does not scale by the history")
		}
	}
}

// TestMicrobatchesCountTogether: what a step records is the largest of all, and a slot that
// no microbatch reached keeps its history.
func TestMicrobatchesCountTogether(t *testing.T) {
	up, idle := nn.NewLinear(16, 16, nn.LinearOptions{}), nn.NewLinear(16, 16, nn.LinearOptions{})
	r := newRig(t, ranks.Options{}, dtype.Float32, &nn.Sequential{Names: []string{"up", "idle"}, Modules: []nn.Module{up, idle}}, delayed(func(*fp8.Float8LinearConfig) {}))
	for _, microbatches := range [][]float32{{3, 5, 4}, {2, 1}} {
		for _, x := range microbatches {
			r.Pass(up, nn.Input(r.ones(x)), slices.Repeat([]float32{x}, 256))
		}
		r.sync()
	}
	for _, kind := range []string{"input", "grad_output"} {
		if got := r.buffer("up.fp8_amax_history_" + kind)[:3]; !slices.Equal(got, []float32{2, 5, 0}) {
			t.Errorf("history of %s %v, want 2, 5, 0", kind, got)
		}
		if got := r.buffer("idle.fp8_amax_history_" + kind)[0]; got != 0 {
			t.Errorf("history of %s of a Linear that did not run: %v", kind, got)
		}
	}
	if got := r.buffer("idle.fp8_amax_grad_output")[0]; got != 57344 {
		t.Errorf("amax of grad_output that never ran: %v, want 57344", got)
	}
}

// TestWhatIsNotFiniteIsNamed once, and enters no history; the cast of an infinite value
// is the format's largest.
func TestWhatIsNotFiniteIsNamed(t *testing.T) {
	r := newRig(t, ranks.Options{}, dtype.Float32, &nn.Sequential{Names: []string{"up"}, Modules: []nn.Module{nn.NewLinear(16, 16, nn.LinearOptions{})}}, delayed(func(*fp8.Float8LinearConfig) {}))
	told := func() []string {
		names := r.scales.NotFinite(r.Ctx.Stream)
		if err := r.Ctx.Stream.Sync(); err != nil {
			t.Fatal(err)
		}
		return names()
	}
	r.step(2, 3)
	before := r.state()
	if names := told(); names != nil {
		t.Errorf("%v are not finite, want none", names)
	}
	inf := r.Pass(r.model, nn.Input(r.ones(float32(math.Inf(1)))), slices.Repeat([]float32{float32(math.NaN())}, 256))
	r.sync()
	if names, want := told(), []string{"up (input)", "up (grad_output)"}; !slices.Equal(names, want) {
		t.Errorf("%v are not finite, want %v", names, want)
	}
	if names := told(); names != nil {
		t.Errorf("%v are told twice", names)
	}
	// The weight's history alone has another entry, an equal one.
	if after := r.state(); strings.ReplaceAll(after, "\n", "") == strings.ReplaceAll(before, "\n", "") || r.buffer("up.fp8_amax_history_input")[1] != 0 || r.buffer("up.fp8_amax_history_weight")[1] == 0 {
		t.Errorf("after values that are not finite the state is\n%sbefore\n%s", after, before)
	}
	if largest := r.Pass(r.model, nn.Input(r.ones(2)), slices.Repeat([]float32{3}, 256)); !slices.Equal(inf, largest) {
		t.Error("an infinite input is not the largest there is")
	}
}
