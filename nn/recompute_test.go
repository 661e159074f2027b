// SPDX-License-Identifier: Apache-2.0

package nn_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"octet/dtype"
	"octet/nn"
	"octet/nn/nntest"
	"octet/tensor"
)

var keeps = []nn.Keep{nn.KeepInput, nn.KeepCostly}

// recomputedStack is a stack whose blocks are recomputed.
func recomputedStack(n int, keep nn.Keep) nn.Module {
	s := stack(n, true).(*nn.Sequential)
	for i, block := range s.Modules {
		s.Modules[i] = nn.Recompute(block, keep)
	}
	return s
}

// gradients are the output of a pass and the gradients of x and of all parameters,
// of values that are the same for any module with the same parameters.
func gradients(r *nntest.Rig, m nn.Module, shape ...int) (all [][]float32) {
	n := 1
	for _, d := range shape {
		n *= d
	}
	params := r.Load(m, func(p *nn.Param) []float32 { return r.Normal(p.Numel(), 0.1) })
	x := nn.Watch(r.Put(r.Normal(n, 1), shape...))
	all = append(all, r.Pass(m, x, r.Normal(n, 1)), r.Get(x.Grad().Tensor))
	x.FreeGrad(r.Ctx)
	for _, p := range params {
		all = append(all, r.Grad(p))
	}
	return all
}

// TestRecomputationGivesTheSameBits with any Caster, of modules within modules, and
// where the input has other readers, before and behind.
func TestRecomputationGivesTheSameBits(t *testing.T) {
	linear := func() nn.Module { return nn.NewLinear(8, 8, nn.LinearOptions{Bias: true}) }
	attention := func() nn.Module {
		return &nn.Attention{WQ: linear(), WK: linear(), WV: linear(), WO: linear(), HeadDim: 2, RoPE: &nn.RoPE{HeadDim: 2, MaxSeq: 4, Theta: 100}}
	}
	for name, build := range map[string]func(wrap func(nn.Module) nn.Module) nn.Module{
		"a stack": func(wrap func(nn.Module) nn.Module) nn.Module {
			s := stack(3, true).(*nn.Sequential)
			for i := range s.Modules {
				s.Modules[i] = wrap(s.Modules[i])
			}
			return s
		},
		"its parts": func(wrap func(nn.Module) nn.Module) nn.Module {
			s := stack(2, false).(*nn.Sequential)
			for i := range s.Modules {
				b := s.Modules[i].(*plus)
				b.feed = wrap(b.feed) // x is read by the sum too
			}
			return wrap(s)
		},
		"a sum of three": func(wrap func(nn.Module) nn.Module) nn.Module {
			return &plus{feed: wrap(&plus{feed: wrap(linear())})}
		},
		"attention": func(wrap func(nn.Module) nn.Module) nn.Module {
			return &nn.Sequential{Names: []string{"a", "b"}, Modules: []nn.Module{wrap(attention()), wrap(nn.NewReLU())}}
		},
	} {
		for kind, caster := range casters() {
			for _, keep := range keeps {
				t.Run(fmt.Sprintf("%s/%s/keeps %v", name, kind, keep), func(t *testing.T) {
					plain, again := rig(t), rig(t)
					want := gradients(plain, castAll(build(func(m nn.Module) nn.Module { return m }), caster()), 2, 4, 8)
					got := gradients(again, castAll(build(func(m nn.Module) nn.Module { return nn.Recompute(m, keep) }), caster()), 2, 4, 8)
					for i := range want {
						if !slices.Equal(got[i], want[i]) {
							t.Errorf("tensor %d of output, dx, dw, … has other bits: %v, want %v", i, got[i], want[i])
						}
					}
					if live := again.Ctx.Pool.Live(); live != 0 {
						t.Errorf("%d bytes are in use at the end", live)
					}
				})
			}
		}
	}
}

// TestWhatARecomputedBlockKeeps: its input; and, of its operations, the first and third
// Linear of three. All tensors here are of the pool's smallest class.
func TestWhatARecomputedBlockKeeps(t *testing.T) {
	const class = 4096
	for keep, want := range map[nn.Keep]int{nn.KeepInput: 1, nn.KeepCostly: 3} {
		var live []int
		for _, depth := range []int{2, 5} {
			r := rig(t)
			m := recomputedStack(depth, keep)
			r.Load(m, func(p *nn.Param) []float32 { return r.Normal(p.Numel(), 0.1) })
			y := m.Forward(r.Ctx, nn.Input(r.Put(r.Normal(4*8, 1), 4, 8)))
			live = append(live, r.Ctx.Pool.Live())
			r.Backward(m, y, r.Normal(4*8, 1))
		}
		if got := (live[1] - live[0]) / 3 / class; got != want {
			t.Errorf("keeping %v: %d tensors a block, want %d (in use after forward %v)", keep, got, want, live)
		}
	}
}

// TestTheFirstPassTakesWhatEvaluationTakes, at its peak.
func TestTheFirstPassTakesWhatEvaluationTakes(t *testing.T) {
	for kind, caster := range casters() {
		peak := func(mode nn.Mode) int {
			r := rig(t)
			m := nn.Recompute(castAll(stack(4, true), caster()), nn.KeepInput)
			r.Load(m, r.Random)
			r.Ctx.Mode = mode
			nn.Scoped(r.Ctx, m, nn.Input(r.Put(r.Normal(4*8, 1), 4, 8)))
			return r.Ctx.Pool.Peak()
		}
		if got, want := peak(nn.Train), peak(nn.Eval); got != want {
			t.Errorf("%s: %d bytes, want %d", kind, got, want)
		}
	}
}

// watched writes down the mode of each cast, by role.
type watched struct {
	nn.HighPrecision
	seen []string
}

func (k *watched) Cast(c *nn.Ctx, x tensor.Operand, now, later nn.Role) (a, b tensor.Operand) {
	pass := map[nn.Mode]string{nn.Train: "train", nn.Eval: "eval", nn.FirstPass: "first", nn.Recomputation: "again"}[c.Mode]
	k.seen = append(k.seen, fmt.Sprintf("%v %s", now, pass))
	return k.HighPrecision.Cast(c, x, now, later)
}

// lossy takes the loss of what inner computes.
type lossy struct {
	nn.Leaf
	nn.NoParams
	inner  nn.Module
	target *tensor.Tensor
}

func (m *lossy) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	y := m.inner.Forward(c, x)
	nn.MeanSquaredError(c, y, m.target)
	return y
}

// TestCastersSeeWhichPassItIs: forward's casts happen in the first pass, which counts,
// and again in the recomputation, which does not; those of backward once, as ever.
func TestCastersSeeWhichPassItIs(t *testing.T) {
	for keep, want := range map[nn.Keep]string{
		nn.KeepInput:  "i first, w first, i again, w again, go train, w_gi train",
		nn.KeepCostly: "i first, w first, i again, go train, w_gi train",
	} {
		r, k := rig(t), &watched{}
		m := nn.Recompute(nn.NewLinear(8, 8, nn.LinearOptions{}), keep)
		gradients(r, castAll(m, k), 4, 8)
		if got := strings.Join(k.seen, ", "); got != want {
			t.Errorf("keeping %v: casts %q, want %q", keep, got, want)
		}
	}
	for mode, want := range map[nn.Mode][2]bool{nn.Train: {true, true}, nn.Eval: {}, nn.FirstPass: {true, false}, nn.Recomputation: {false, true}} {
		if got := [2]bool{mode.Counts(), mode.Defers()}; got != want {
			t.Errorf("mode %d counts, defers: %v, want %v", mode, got, want)
		}
	}
}

// TestALossWithinWhatIsRecomputed counts once, and starts its backward.
func TestALossWithinWhatIsRecomputed(t *testing.T) {
	for _, keep := range keeps {
		var losses, grads [][]float32
		for _, wrap := range []func(nn.Module) nn.Module{
			func(m nn.Module) nn.Module { return m },
			func(m nn.Module) nn.Module { return nn.Recompute(m, keep) },
		} {
			r := rig(t)
			l := nn.NewLinear(8, 8, nn.LinearOptions{})
			m := wrap(&lossy{inner: l, target: r.Put(r.Normal(4*8, 1), 4, 8)})
			r.Load(l, r.Random)
			loss := r.Loss(0.5)
			m.Forward(r.Ctx, nn.Input(r.Put(r.Normal(4*8, 1), 4, 8)))
			r.Ctx.Tape.Backward()
			losses, grads = append(losses, r.Get(loss)), append(grads, r.Grad(l.Weight))
			if r.Ctx.Loss != loss || r.Ctx.Pool.Live() != 0 {
				t.Errorf("keeping %v: another place for losses, or %d bytes in use at the end", keep, r.Ctx.Pool.Live())
			}
		}
		if !slices.Equal(losses[0], losses[1]) || !slices.Equal(grads[0], grads[1]) {
			t.Errorf("keeping %v: loss %v with gradient %v, want %v with %v", keep, losses[1], grads[1], losses[0], grads[0])
		}
	}
}

// TestAForwardThatDiffersTheSecondTime is named.
func TestAForwardThatDiffersTheSecondTime(t *testing.T) {
	for name, change := range map[string]func(m *nn.Sequential){
		"a recomputation ends before":      func(m *nn.Sequential) { m.Names, m.Modules = nil, nil },
		"a recomputation computes float32": func(m *nn.Sequential) { m.Modules[0] = nn.NewLinear(8, 6, nn.LinearOptions{}) },
	} {
		r := rig(t)
		m := &nn.Sequential{Names: []string{"a"}, Modules: []nn.Module{nn.NewLinear(8, 8, nn.LinearOptions{})}}
		r.Load(m, r.Random)
		y := nn.Recompute(m, nn.KeepCostly).Forward(r.Ctx, nn.Watch(r.Put(r.Normal(4*8, 1), 4, 8)))
		change(m)
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, name) || !strings.Contains(got, "Forward must do the same twice") {
					t.Errorf("panic %q, want one with %q", got, name)
				}
			}()
			y.SetGrad(r.Ctx.New(4, 8))
			r.Ctx.Tape.Backward()
		}()
	}
}

// TestRecomputeIsTransparent: it adds nothing to names, evaluation passes through, and
// so does an input that the module returns.
func TestRecomputeIsTransparent(t *testing.T) {
	r := rig(t)
	m := recomputedStack(2, nn.KeepInput)
	var names, want []string
	for name := range nn.Parameters(m) {
		names = append(names, name)
	}
	for name := range nn.Parameters(stack(2, true)) {
		want = append(want, name)
	}
	if !slices.Equal(names, want) {
		t.Errorf("names %q, want %q", names, want)
	}
	x := nn.Watch(r.Empty(dtype.Float32, 4, 8))
	if y := nn.Recompute(&nn.Sequential{}, nn.KeepInput).Forward(r.Ctx, x); y != x || !r.Ctx.Tape.Empty() {
		t.Error("a module that returns its input returns another with Recompute, or defers a backward")
	}
	r.Load(m, r.Random)
	r.Ctx.Mode = nn.Eval
	if nn.Scoped(r.Ctx, m, nn.Input(x.Value.Tensor)); !r.Ctx.Tape.Empty() {
		t.Error("evaluation defers a backward")
	}
}
