// SPDX-License-Identifier: Apache-2.0

package nn_test

import (
	"iter"
	"testing"

	"octet/dtype"
	"octet/nn"
	"octet/nn/nntest"
	"octet/test/ranks"
)

// rig runs modules on the portable kernels.
func rig(t *testing.T) *nntest.Rig {
	t.Helper()
	return nntest.New(t, ranks.Device(t, ranks.Options{ISA: "portable"}), dtype.Float32)
}

func TestBackwardIsTheDerivativeOfForward(t *testing.T) {
	linear := func(k, n int, bias bool) *nn.Linear { return nn.NewLinear(k, n, nn.LinearOptions{Bias: bias}) }
	attention := func(heads, kv int) nn.Module {
		const dim, head = 8, 2
		return &nn.Attention{
			WQ: linear(dim, heads*head, false), WK: linear(dim, kv*head, false), WV: linear(dim, kv*head, false), WO: linear(heads*head, dim, false),
			HeadDim: head, RoPE: &nn.RoPE{HeadDim: head, MaxSeq: 6, Theta: 100},
		}
	}
	shared := linear(5, 5, true)
	norm := nn.NewRMSNorm(5, 1e-5)
	for _, tt := range []struct {
		name   string
		module nn.Module
		x      []int
		out    int
	}{
		{"Linear", linear(5, 3, false), []int{2, 4, 5}, 2 * 4 * 3},
		{"Linear with bias", linear(5, 3, true), []int{7, 5}, 7 * 3},
		{"RMSNorm", nn.NewRMSNorm(6, 1e-5), []int{2, 3, 6}, 2 * 3 * 6},
		{"LayerNorm", nn.NewLayerNorm(6, 1e-5), []int{2, 3, 6}, 2 * 3 * 6},
		{"GELU", nn.NewGELU(), []int{4, 6}, 4 * 6},
		{"GELU by tanh", nn.NewGELUTanh(), []int{4, 6}, 4 * 6},
		{"ReLU between two others", &nn.Sequential{Names: []string{"up", "relu", "down"}, Modules: []nn.Module{linear(5, 7, true), nn.NewReLU(), linear(7, 3, true)}}, []int{4, 5}, 4 * 3},
		{"GELU between two others", &nn.Sequential{Names: []string{"up", "gelu", "down"}, Modules: []nn.Module{linear(5, 7, true), nn.NewGELU(), linear(7, 3, true)}}, []int{4, 5}, 4 * 3},
		{"LayerNorm between two others", &nn.Sequential{Names: []string{"up", "norm", "down"}, Modules: []nn.Module{linear(5, 7, true), nn.NewLayerNorm(7, 1e-5), linear(7, 3, true)}}, []int{4, 5}, 4 * 3},
		{"a sum with a GELU of its first term", &again{a: nn.NewGELU(), b: linear(6, 6, false)}, []int{4, 6}, 4 * 6},
		{"a sum with a LayerNorm of its first term", &again{a: nn.NewLayerNorm(6, 1e-5), b: linear(6, 6, false)}, []int{4, 6}, 4 * 6},
		{"Attention", attention(4, 4), []int{2, 5, 8}, 2 * 5 * 8},
		{"Attention with grouped queries", attention(4, 2), []int{2, 5, 8}, 2 * 5 * 8},
		{"Attention with one key head", attention(4, 1), []int{1, 6, 8}, 6 * 8},
		{"FeedForward", &nn.FeedForward{W1: linear(6, 10, false), W2: linear(10, 6, false), W3: linear(6, 10, false)}, []int{2, 3, 6}, 2 * 3 * 6},
		{"Sequential", &nn.Sequential{Names: []string{"norm", "output"}, Modules: []nn.Module{nn.NewRMSNorm(4, 1e-5), linear(4, 7, true)}}, []int{3, 4}, 3 * 7},
		{"modules used twice", &nn.Sequential{Names: []string{"a", "b", "c", "d"}, Modules: []nn.Module{norm, shared, norm, shared}}, []int{3, 5}, 3 * 5},
		{"AddForward", &residual{norm: nn.NewRMSNorm(6, 1e-5), inner: linear(6, 6, false), fused: true}, []int{4, 6}, 4 * 6},
		{"Add", &residual{norm: nn.NewRMSNorm(6, 1e-5), inner: linear(6, 6, false)}, []int{4, 6}, 4 * 6},
		{"a sum as the second term", &nested{a: linear(6, 6, true), b: linear(6, 6, true)}, []int{4, 6}, 4 * 6},
		{"a sum whose first term is made last", &late{
			a: linear(6, 6, false), b: &nn.Sequential{Names: []string{"0", "1"}, Modules: []nn.Module{linear(6, 6, false), linear(6, 6, false)}},
		}, []int{4, 6}, 4 * 6},
		{"a sum whose first term is used again after it", &again{a: linear(6, 6, false), b: linear(6, 6, false)}, []int{4, 6}, 4 * 6},
		{"a sum of a value with itself", &double{inner: linear(6, 6, false)}, []int{4, 6}, 4 * 6},
		{"FeedForward whose gate remembers its output", &nn.FeedForward{W1: &double{inner: linear(6, 10, false)}, W2: linear(10, 6, false), W3: &squares{inner: linear(6, 10, false)}}, []int{2, 3, 6}, 2 * 3 * 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := rig(t)
			n := 1
			for _, d := range tt.x {
				n *= d
			}
			r.Load(tt.module, r.Random)
			r.Gradient(tt.module, r.Put(r.Normal(n, 1), tt.x...), tt.out)
		})
	}
	t.Run("Embedding", func(t *testing.T) {
		r := rig(t)
		m := nn.NewEmbedding(5, 3, nn.Init{})
		r.Load(m, r.Random)
		r.Gradient(m, r.IDs([]int32{4, 0, 4, 1, 4, 0}, 2, 3), 6*3)
	})
}

// residual is s + norm(s) where s = x + inner(x), with the norm fused to the
// sum or after it.
type residual struct {
	nn.NoParams
	norm  nn.Module
	inner nn.Module
	fused bool
}

func (m *residual) Children() iter.Seq2[string, *nn.Module] {
	return nn.Slots(nn.Slot{Name: "norm", At: &m.norm}, nn.Slot{Name: "inner", At: &m.inner})
}

func (m *residual) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	r := m.inner.Forward(c, x)
	if m.fused {
		sum, y := m.norm.(*nn.RMSNorm).AddForward(c, x, r)
		return nn.Add(c, sum, y)
	}
	sum := nn.Add(c, x, r)
	return nn.Add(c, sum, m.norm.Forward(c, sum))
}

// nested is x + (a(x) + b(x)).
type nested struct {
	nn.NoParams
	a, b nn.Module
}

func (m *nested) Children() iter.Seq2[string, *nn.Module] {
	return nn.Slots(nn.Slot{Name: "a", At: &m.a}, nn.Slot{Name: "b", At: &m.b})
}

func (m *nested) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	return nn.Add(c, x, nn.Add(c, m.a.Forward(c, x), m.b.Forward(c, x)))
}

// late is a(x) + b(x) with b run first, so that a's backward is over before b's
// reads the gradient that both share.
type late struct {
	nn.NoParams
	a, b nn.Module
}

func (m *late) Children() iter.Seq2[string, *nn.Module] {
	return nn.Slots(nn.Slot{Name: "b", At: &m.b}, nn.Slot{Name: "a", At: &m.a})
}

func (m *late) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	b := m.b.Forward(c, x)
	return nn.Add(c, m.a.Forward(c, x), b)
}

// again is (y + a(y)) + b(y) for y = a(x): a sum's first term has other uses, before
// and after it.
type again struct {
	nn.NoParams
	a, b nn.Module
}

func (m *again) Children() iter.Seq2[string, *nn.Module] {
	return nn.Slots(nn.Slot{Name: "a", At: &m.a}, nn.Slot{Name: "b", At: &m.b})
}

func (m *again) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	y := m.a.Forward(c, x)
	sum := nn.Add(c, y, m.a.Forward(c, y))
	return nn.Add(c, sum, m.b.Forward(c, y))
}

// double is inner(x) + inner(x), one value twice.
type double struct {
	nn.NoParams
	inner nn.Module
}

func (m *double) Children() iter.Seq2[string, *nn.Module] {
	return nn.Slots(nn.Slot{Name: "inner", At: &m.inner})
}

func (m *double) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	y := m.inner.Forward(c, x)
	return nn.Add(c, y, y)
}

// squares is silu(y)·y for y = inner(x), an operation of this test's own.
type squares struct {
	nn.NoParams
	inner nn.Module
}

func (m *squares) Children() iter.Seq2[string, *nn.Module] {
	return nn.Slots(nn.Slot{Name: "inner", At: &m.inner})
}

func (m *squares) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	y := m.inner.Forward(c, x)
	z := c.Op(func(z *nn.Var) {
		gate, up := c.New(y.Shape()...), c.New(y.Shape()...)
		c.Stream.SwiGLUGrad(gate, up, z.Grad().Tensor, y.Value.Tensor, y.Value.Tensor, nil, nil)
		c.Stream.Add(gate, gate, up)
		dy, accumulate := y.GradTarget(c)
		if accumulate {
			c.Stream.Add(dy, dy, gate)
		} else {
			c.Stream.Copy(dy, gate)
		}
		c.Pool.Free(gate)
		c.Pool.Free(up)
	}, y.Shape()...)
	c.Stream.SwiGLU(z.Value.Tensor, y.Keep(), y.Value.Tensor, nil)
	z.Keep() // as an operation would whose backward reads its output; see TestAKeptValueIsThereInBackward
	return z
}

func TestAddForwardIsAddThenNorm(t *testing.T) {
	run := func(fused bool) [][]float32 {
		r := rig(t)
		m := &residual{norm: nn.NewRMSNorm(6, 1e-5), inner: nn.NewLinear(6, 6, nn.LinearOptions{}), fused: fused}
		r.Load(m, r.Random)
		x := nn.Watch(r.Put(r.Normal(24, 1), 4, 6))
		all := [][]float32{r.Pass(m, x, r.Normal(24, 1))}
		all = append(all, r.Get(x.Grad().Tensor))
		for _, p := range nn.Parameters(m) {
			all = append(all, r.Grad(p))
		}
		return all
	}
	fused, apart := run(true), run(false)
	for i, name := range []string{"output", "dx", "dnorm", "dw"} {
		if d := nntest.Off(fused[i], apart[i]); !(d < 1e-6) {
			t.Errorf("%s: off by %.2g between the fused pass and two", name, d)
		}
	}
}
