// SPDX-License-Identifier: Apache-2.0

package nntest

import (
	"math"

	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// Gradient compares the backward of m, whose output has out elements, with
// finite differences of its forward: in x, unless it holds ids, and in every
// parameter. Of each tensor it takes at most 24 elements, as one vector.
// It also checks that no pass keeps memory.
func (r *Rig) Gradient(m nn.Module, x *tensor.Tensor, out int) {
	r.Helper()
	dy := r.Normal(out, 1)
	input := func() *nn.Var {
		if x.Type != dtype.Float32 {
			return nn.Input(x)
		}
		return nn.Watch(x)
	}
	loss := func() float64 {
		v := input()
		sum := dot(r.Pass(m, v, dy), dy)
		v.FreeGrad(r.Ctx)
		return sum
	}

	type checked struct {
		name     string
		at       *tensor.Tensor
		gradient []float32
	}
	v := input()
	r.Pass(m, v, dy)
	var all []checked
	if g := v.Grad(); g.Tensor != nil {
		all = append(all, checked{"the input", x, r.Get(g.Tensor)})
		v.FreeGrad(r.Ctx)
	}
	for name, p := range nn.Parameters(m) {
		all = append(all, checked{name, p.Value().Tensor, r.Grad(p)})
	}
	live := r.Ctx.Pool.Live()
	for _, k := range all {
		values := r.Get(k.at)
		elements := r.rand.Perm(len(values))
		elements = elements[:min(24, len(elements))]
		var got, want []float32
		for _, i := range elements {
			got = append(got, k.gradient[i])
			want = append(want, float32(derivative(func(step float32) float64 {
				old := values[i]
				values[i] += step
				r.Ctx.Stream.Upload(k.at, device.Float32Bytes(values))
				values[i] = old
				return loss()
			})))
		}
		r.Ctx.Stream.Upload(k.at, device.Float32Bytes(values))
		if d := Off(got, want); !(d < 1e-3) {
			r.Errorf("gradient of %s: off by %.2g of its norm from finite differences:\n got %v\nwant %v", k.name, d, got, want)
		}
	}
	if got := r.Ctx.Pool.Live(); got != live {
		r.Errorf("%d bytes of the pool are in use after the last pass, %d after the first", got, live)
	}
}

// derivative is f'(0) to fourth order in a step that float32 resolves.
func derivative(f func(step float32) float64) float64 {
	const h = 1.0 / 64
	return (8*(f(h)-f(-h)) - (f(2*h) - f(-2*h))) / (12 * h)
}

// dot is Σ a·b in float64.
func dot(a, b []float32) (sum float64) {
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

// Off is |got - want| / |want| as vectors.
func Off(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	var d, n float64
	for i := range want {
		e := float64(got[i]) - float64(want[i])
		d += e * e
		n += float64(want[i]) * float64(want[i])
	}
	return math.Sqrt(d / n)
}
