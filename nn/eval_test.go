// SPDX-License-Identifier: Apache-2.0

package nn_test

import (
	"fmt"
	"iter"
	"slices"
	"testing"

	"octet/nn"
)

// stack is n blocks of x + FeedForward(norm(x)), or of x + FeedForward(x), which
// end nothing themselves.
func stack(n int, norms bool) nn.Module {
	linear := func(k, n int) nn.Module { return nn.NewLinear(k, n, nn.LinearOptions{}) }
	s := &nn.Sequential{}
	for i := range n {
		s.Names = append(s.Names, fmt.Sprint(i))
		block := &plus{feed: &nn.FeedForward{W1: linear(8, 12), W2: linear(12, 8), W3: linear(8, 12)}}
		if norms {
			block.norm = nn.NewRMSNorm(8, 1e-5)
		}
		s.Modules = append(s.Modules, block)
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
			for _, depth := range []int{2, 4, 8, -2, -4, -8} { // negative: without norms
				r := rig(t)
				m := castAll(stack(max(depth, -depth), depth > 0), caster())
				for i, inner := range m.(*nn.Sequential).Modules {
					m.(*nn.Sequential).Modules[i] = &scoped{inner: inner}
				}
				r.Load(m, func(p *nn.Param) []float32 { return r.Normal(p.Numel(), 0.1) }) // or the blocks square themselves to infinity
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
			if peaks[0] != peaks[1] || peaks[1] != peaks[2] || peaks[3] != peaks[4] || peaks[4] != peaks[5] {
				t.Errorf("peaks of 2, 4 and 8 blocks %v, want one with norms and one without", peaks)
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

// remembers is inner(x), passed on by an operation whose backward reads its output.
type remembers struct {
	nn.NoParams
	inner nn.Module
	read  func(*nn.Var) []float32
	made  []float32
	found []float32
}

func (m *remembers) Children() iter.Seq2[string, *nn.Module] {
	return nn.Slots(nn.Slot{Name: "inner", At: &m.inner})
}

func (m *remembers) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	y := m.inner.Forward(c, x)
	z := c.Op(func(z *nn.Var) {
		m.found = m.read(z)
		y.AddGrad(c, z)
	}, y.Shape()...)
	c.Stream.Copy(z.Value.Tensor, y.Value.Tensor)
	z.Keep()
	m.made = m.read(z)
	return z
}

// TestAKeptValueIsThereInBackward: the gradients of FeedForward's gate and of the
// logits take the place of values that nobody reads any more, not of others.
func TestAKeptValueIsThereInBackward(t *testing.T) {
	r := rig(t)
	linear := func(k, n int) nn.Module { return nn.NewLinear(k, n, nn.LinearOptions{}) }
	memory := func(inner nn.Module) *remembers {
		return &remembers{inner: inner, read: func(v *nn.Var) []float32 { return r.Get(v.Value.Tensor) }}
	}
	gate, output := memory(linear(6, 8)), memory(linear(6, 5))
	m := &nn.Sequential{Names: []string{"feed", "output"}, Modules: []nn.Module{
		&nn.FeedForward{W1: gate, W2: linear(8, 6), W3: linear(6, 8)}, output,
	}}
	r.Load(m, r.Random)
	logits := m.Forward(r.Ctx, nn.Watch(r.Put(r.Normal(3*6, 1), 3, 6)))
	r.Loss(1)
	nn.CrossEntropy(r.Ctx, logits, r.IDs([]int32{0, 4, 2}, 3))
	r.Ctx.Tape.Backward()
	for name, m := range map[string]*remembers{"the gate": gate, "the logits": output} {
		if len(m.made) == 0 || !slices.Equal(m.made, m.found) {
			t.Errorf("%s: backward finds %v in place of %v", name, m.found, m.made)
		}
	}
}
