// SPDX-License-Identifier: Apache-2.0

package nn_test

import (
	"fmt"
	"iter"
	"slices"
	"testing"

	"octet/nn"
)

// stack is n blocks of x + FeedForward(norm(x)), which end nothing themselves.
func stack(n int) nn.Module {
	linear := func(k, n int) nn.Module { return nn.NewLinear(k, n, nn.LinearOptions{}) }
	s := &nn.Sequential{}
	for i := range n {
		s.Names = append(s.Names, fmt.Sprint(i))
		s.Modules = append(s.Modules, &plus{
			norm: nn.NewRMSNorm(8, 1e-5),
			feed: &nn.FeedForward{W1: linear(8, 12), W2: linear(12, 8), W3: linear(8, 12)},
		})
	}
	return s
}

// plus is x + feed(x) where norm is nil, else x + feed(norm(x)).
type plus struct {
	nn.NoParams
	norm, feed nn.Module
}

func (m *plus) Children() iter.Seq2[string, *nn.Module] {
	slots := []nn.Slot{{Name: "feed", At: &m.feed}}
	if m.norm != nil {
		slots = append(slots, nn.Slot{Name: "norm", At: &m.norm})
	}
	return nn.Slots(slots...)
}

func (m *plus) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	in := x
	if m.norm != nil {
		in = m.norm.Forward(c, x)
	}
	return nn.Add(c, x, m.feed.Forward(c, in))
}

// casters are one of each kind, made anew for each use.
func casters() map[string]func() nn.Caster {
	return map[string]func() nn.Caster{
		"high precision":              func() nn.Caster { return nn.HighPrecision{} },
		"casts":                       func() nn.Caster { return &copier{} },
		"casts of backward are apart": func() nn.Caster { return &copier{apart: true} },
	}
}

// TestAModuleMayReadItsInputToo: x + FeedForward(x), for x that another module
// made, whatever the casts leave of it.
func TestAModuleMayReadItsInputToo(t *testing.T) {
	for name, caster := range casters() {
		t.Run(name, func(t *testing.T) {
			r := rig(t)
			linear := func(k, n int) nn.Module { return nn.NewLinear(k, n, nn.LinearOptions{}) }
			m := castAll(&nn.Sequential{Names: []string{"in", "block"}, Modules: []nn.Module{
				linear(6, 6), &plus{feed: &nn.FeedForward{W1: linear(6, 10), W2: linear(10, 6), W3: linear(6, 10)}},
			}}, caster())
			r.Load(m, r.Random)
			r.Gradient(m, r.Put(r.Normal(2*3*6, 1), 2, 3, 6), 2*3*6)
		})
	}
}

// TestEvaluationKeepsNothing: it gives training's output, defers no backward,
// leaves only the output in memory, and its peak does not grow with depth.
func TestEvaluationKeepsNothing(t *testing.T) {
	for name, caster := range casters() {
		t.Run(name, func(t *testing.T) {
			var peaks []int
			for _, depth := range []int{2, 4, 8} {
				r := rig(t)
				m := castAll(stack(depth), caster())
				for i, inner := range m.(*nn.Sequential).Modules {
					m.(*nn.Sequential).Modules[i] = &scoped{inner: inner}
				}
				r.Load(m, r.Random)
				x := r.Put(r.Normal(4*8, 1), 4, 8)
				r.Ctx.Mode = nn.Eval
				y := nn.Scoped(r.Ctx, m, nn.Input(x))
				got := r.Get(y.Value.Tensor)
				if live := r.Ctx.Pool.Live(); live != y.Value.Buf.Len() {
					t.Errorf("%d blocks: %d bytes are in use, want the output's %d", depth, live, y.Value.Buf.Len())
				}
				y.Done(r.Ctx)
				peaks = append(peaks, r.Ctx.Pool.Peak())
				r.Ctx.Mode = nn.Train
				if want := r.Pass(m, nn.Input(x), r.Normal(4*8, 1)); !slices.Equal(got, want) {
					t.Errorf("%d blocks: evaluation gives other values than training", depth)
				}
				if live := r.Ctx.Pool.Live(); live != 0 {
					t.Errorf("%d blocks: %d bytes are in use at the end", depth, live)
				}
			}
			if peaks[0] != peaks[1] || peaks[1] != peaks[2] {
				t.Errorf("peaks of 2, 4 and 8 blocks %v, want one", peaks)
			}
		})
	}
}

// scoped evaluates a module as FSDP's unit does.
type scoped struct {
	nn.Leaf
	nn.NoParams
	inner nn.Module
}

func (m *scoped) Inner() *nn.Module { return &m.inner }

func (m *scoped) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	if c.Mode == nn.Eval {
		return nn.Scoped(c, m.inner, x)
	}
	return m.inner.Forward(c, x)
}

var _ nn.Decorator = (*scoped)(nil)

// TestAWatchedGradientIsTheCallers until it frees it.
func TestAWatchedGradientIsTheCallers(t *testing.T) {
	r := rig(t)
	l := nn.NewLinear(4, 4, nn.LinearOptions{})
	r.Load(l, r.Random)
	x := nn.Watch(r.Put(r.Normal(8, 1), 2, 4))
	r.Pass(l, x, r.Normal(8, 1))
	if g := x.Grad(); g.Tensor == nil || r.Ctx.Pool.Live() != g.Buf.Len() {
		t.Errorf("gradient %v, %d bytes in use", g, r.Ctx.Pool.Live())
	}
	x.FreeGrad(r.Ctx)
	if r.Ctx.Pool.Live() != 0 || x.Grad().Tensor != nil {
		t.Errorf("%d bytes in use after the gradient is freed", r.Ctx.Pool.Live())
	}
}
