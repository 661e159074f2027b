// SPDX-License-Identifier: Apache-2.0

package nn_test

import (
	"iter"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// gradient compares the backward of m with finite differences of its forward,
// in x (unless it holds ids) and in every parameter: the elements of each
// tensor, at most 24 of them, as one vector.
func (r *rig) gradient(m nn.Module, x *tensor.Tensor, out int) {
	r.Helper()
	r.load(m)
	dy := r.normal(out, 1)
	differentiable := x.Type == dtype.Float32
	input := func() *nn.Var {
		if !differentiable {
			return nn.Input(x)
		}
		v := &nn.Var{Value: x}
		v.Keep()
		return v
	}
	loss := func() float64 {
		v := input()
		sum := dot(r.pass(m, v, dy), dy)
		r.c.Pool.Free(v.Grad)
		return sum
	}

	type wanted struct {
		name     string
		at       *tensor.Tensor
		gradient []float32
	}
	v := input()
	r.pass(m, v, dy)
	var all []wanted
	if differentiable {
		all = append(all, wanted{"the input", x, r.get(v.Grad)})
		r.c.Pool.Free(v.Grad)
	}
	for name, p := range nn.Parameters(m) {
		all = append(all, wanted{name, p.Use.Tensor, r.get(p.FullGrad)})
	}
	live := r.c.Pool.Live()
	for _, w := range all {
		values := r.get(w.at)
		elements := r.rand.Perm(len(values))
		elements = elements[:min(24, len(elements))]
		var got, want []float32
		for _, i := range elements {
			got = append(got, w.gradient[i])
			want = append(want, float32(derivative(func(step float32) float64 {
				old := values[i]
				values[i] += step
				r.c.Stream.Upload(w.at, device.Float32Bytes(values))
				values[i] = old
				return loss()
			})))
		}
		r.c.Stream.Upload(w.at, device.Float32Bytes(values))
		if d := off(got, want); !(d < 1e-3) {
			r.Errorf("gradient of %s: off by %.2g of its norm from finite differences:\n got %v\nwant %v", w.name, d, got, want)
		}
	}
	if got := r.c.Pool.Live(); got != live {
		r.Errorf("%d bytes of the pool are in use after the last pass, %d after the first", got, live)
	}
}

// derivative is f'(0) to fourth order in a step that float32 resolves.
func derivative(f func(step float32) float64) float64 {
	const h = 1.0 / 64
	return (8*(f(h)-f(-h)) - (f(2*h) - f(-2*h))) / (12 * h)
}

func TestBackwardIsTheDerivativeOfForward(t *testing.T) {
	linear := func(k, n int, bias bool) *nn.Linear { return nn.NewLinear(k, n, nn.LinearOptions{Bias: bias}) }
	attention := func(heads, kv int) nn.Module {
		const dim, head = 8, 2
		return &nn.Attention{
			WQ: linear(dim, heads*head, false), WK: linear(dim, kv*head, false), WV: linear(dim, kv*head, false), WO: linear(heads*head, dim, false),
			Heads: heads, KVHeads: kv, HeadDim: head, RoPE: &nn.RoPE{HeadDim: head, MaxSeq: 6, Theta: 100},
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
		{"Attention", attention(4, 4), []int{2, 5, 8}, 2 * 5 * 8},
		{"Attention with grouped queries", attention(4, 2), []int{2, 5, 8}, 2 * 5 * 8},
		{"Attention with one key head", attention(4, 1), []int{1, 6, 8}, 6 * 8},
		{"FeedForward", &nn.FeedForward{W1: linear(6, 10, false), W2: linear(10, 6, false), W3: linear(6, 10, false)}, []int{2, 3, 6}, 2 * 3 * 6},
		{"Sequential", &nn.Sequential{Names: []string{"norm", "output"}, Modules: []nn.Module{nn.NewRMSNorm(4, 1e-5), linear(4, 7, true)}}, []int{3, 4}, 3 * 7},
		{"modules used twice", &nn.Sequential{Names: []string{"a", "b", "c", "d"}, Modules: []nn.Module{norm, shared, norm, shared}}, []int{3, 5}, 3 * 5},
		{"AddForward", &residual{norm: nn.NewRMSNorm(6, 1e-5), inner: linear(6, 6, false), fused: true}, []int{4, 6}, 4 * 6},
		{"Add", &residual{norm: nn.NewRMSNorm(6, 1e-5), inner: linear(6, 6, false)}, []int{4, 6}, 4 * 6},
		{"a sum as the second term", &nested{a: linear(6, 6, true), b: linear(6, 6, true)}, []int{4, 6}, 4 * 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			n := 1
			for _, d := range tt.x {
				n *= d
			}
			r.gradient(tt.module, r.put(r.normal(n, 1), tt.x...), tt.out)
		})
	}
	t.Run("Embedding", func(t *testing.T) {
		r := newRig(t)
		r.gradient(nn.NewEmbedding(5, 3, nn.Init{}), r.ids([]int32{4, 0, 4, 1, 4, 0}, 2, 3), 6*3)
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

func TestAddForwardIsAddThenNorm(t *testing.T) {
	run := func(fused bool) [][]float32 {
		r := newRig(t)
		m := &residual{norm: nn.NewRMSNorm(6, 1e-5), inner: nn.NewLinear(6, 6, nn.LinearOptions{}), fused: fused}
		r.load(m)
		x := &nn.Var{Value: r.put(r.normal(24, 1), 4, 6)}
		x.Keep()
		all := [][]float32{r.pass(m, x, r.normal(24, 1))}
		all = append(all, r.get(x.Grad))
		for _, p := range nn.Parameters(m) {
			all = append(all, r.get(p.FullGrad))
		}
		return all
	}
	fused, apart := run(true), run(false)
	for i, name := range []string{"output", "dx", "dnorm", "dw"} {
		if d := off(fused[i], apart[i]); !(d < 1e-6) {
			t.Errorf("%s: off by %.2g between the fused pass and two", name, d)
		}
	}
}
