// SPDX-License-Identifier: Apache-2.0

package nn_test

import (
	"fmt"
	"iter"
	"slices"
	"testing"

	"octet/nn"
	"octet/tensor"
)

// agreer notes which gradients it is told of together, and wants each cast before the next are told.
type agreer struct {
	copier
	t       *testing.T
	told    []int // how many at a time
	waiting []*tensor.Tensor
}

var _ nn.Agreer = (*agreer)(nil)

func (k *agreer) Agrees(with nn.Caster) bool { return with == nn.Caster(k) }

func (k *agreer) Agree(_ *nn.Ctx, by []nn.Agreer, dy []tensor.Operand) {
	if len(k.waiting) > 0 || len(by) != len(dy) {
		k.t.Errorf("%d Casters are told %d gradients, while %d are not cast", len(by), len(dy), len(k.waiting))
	}
	k.told = append(k.told, len(dy))
	for _, g := range dy {
		k.waiting = append(k.waiting, g.Tensor)
	}
}

func (k *agreer) Cast(c *nn.Ctx, x tensor.Operand, now, later nn.Role) (a, b tensor.Operand) {
	if i := slices.Index(k.waiting, x.Tensor); now == nn.GradOut && i >= 0 {
		k.waiting = slices.Delete(k.waiting, i, i+1)
	}
	return k.copier.Cast(c, x, now, later)
}

func (k *agreer) Serves(by nn.Caster, made, want nn.Role) bool {
	return by == nn.Caster(k) && made == want
}

// between is two Linears that read one input, where the second one's output is needed before the first one's
// gradient is known, or not.
type between struct {
	nn.NoParams
	a, b   nn.Module
	before bool
}

func (m *between) Children() iter.Seq2[string, *nn.Module] {
	return nn.Slots(nn.Slot{Name: "a", At: &m.a}, nn.Slot{Name: "b", At: &m.b})
}

func (m *between) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	twice := func(x *nn.Var) *nn.Var {
		y := c.Op(func(y *nn.Var) { x.AddGrad(c, y); x.AddGrad(c, y) }, x.Shape()...)
		c.Stream.Add(y.Value.Tensor, x.Value.Tensor, x.Value.Tensor)
		return y
	}
	p := m.a.Forward(c, x)
	if m.before {
		p = twice(p)
	}
	q := m.b.Forward(c, x)
	if !m.before {
		p = twice(p)
	}
	y := c.Op(func(y *nn.Var) { p.AddGrad(c, y); q.AddGrad(c, y) }, p.Shape()...)
	c.Stream.Add(y.Value.Tensor, p.Value.Tensor, q.Value.Tensor)
	return y
}

func TestGradientsThatAreCompleteTogetherAreAgreedOnTogether(t *testing.T) {
	linear := func(k, n int, bias bool) *nn.Linear { return nn.NewLinear(k, n, nn.LinearOptions{Bias: bias}) }
	frozen := linear(8, 8, false)
	frozen.Weight.Freeze()
	for _, tt := range []struct {
		name   string
		module nn.Module
		input  bool // which nobody wants the gradient of
		want   []int
	}{
		{"wq, wk and wv", &nn.Attention{
			WQ: linear(8, 8, false), WK: linear(8, 4, false), WV: linear(8, 4, false), WO: linear(8, 8, false),
			HeadDim: 2, RoPE: &nn.RoPE{HeadDim: 2, MaxSeq: 5, Theta: 100},
		}, false, []int{3}},
		{"w1 and w3", &nn.FeedForward{W1: linear(8, 6, false), W2: linear(6, 8, false), W3: linear(8, 6, false)}, false, []int{2}},
		{"one after the other", &nn.Sequential{Names: []string{"a", "b"}, Modules: []nn.Module{linear(8, 8, false), linear(8, 8, false)}}, false, nil},
		{"an operation behind both", &between{a: linear(8, 8, false), b: linear(8, 8, false)}, false, []int{2}},
		{"an operation between", &between{a: linear(8, 8, false), b: linear(8, 8, false), before: true}, false, nil},
		{"a frozen one", &between{a: frozen, b: linear(8, 8, false)}, false, []int{2}},
		{"a frozen one of an input", &between{a: frozen, b: linear(8, 8, false)}, true, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, k := rig(t), &agreer{t: t}
			m := castAll(tt.module, k)
			r.Load(m, r.Random)
			x := nn.Watch(r.Put(r.Normal(2*5*8, 1), 2, 5, 8))
			if tt.input {
				x = nn.Input(x.Value.Tensor)
			}
			r.Pass(m, x, r.Normal(2*5*8, 1))
			if fmt.Sprint(k.told) != fmt.Sprint(tt.want) || len(k.waiting) > 0 {
				t.Errorf("gradients told together: %v, want %v; %d of them not cast", k.told, tt.want, len(k.waiting))
			}
		})
	}
}
