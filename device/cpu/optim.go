// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"math"

	"octet/device"
	"octet/tensor"
)

// SumSquares is Σ x² over all tensors; see device.Kernels.
func (s *Stream) SumSquares(dst *tensor.Tensor, ts []*tensor.Tensor) {
	must.SumSquares(dst, ts)
	list := piecesOf(ts)
	s.do(func() {
		sums := scratchOf[float64](s, slotPieces, len(list))
		s.workers.run(len(list), func(i int) { sums[i] = s.dev.table.sumSquares(list[i].x) })
		var total float64
		for _, sum := range sums {
			total += sum
		}
		f32s(dst)[0] = float32(total)
	})
}

func sumSquaresGo(x vec) float64 {
	var sum float64
	for i := range x.n {
		v := float64(x.at(i))
		sum += v * v
	}
	return sum
}

// ClipCoef is the factor that brings the global norm down to maxNorm; see
// device.Kernels.
func (s *Stream) ClipCoef(norm, coef, sumsq *tensor.Tensor, maxNorm float32) {
	must.ClipCoef(norm, coef, sumsq)
	s.do(func() {
		n := float32(math.Sqrt(float64(f32s(sumsq)[0])))
		f32s(norm)[0] = n
		c := float32(1)
		if maxNorm > 0 {
			c = min(1, maxNorm/(n+1e-6))
		}
		if n-n != 0 { // NaN or infinite
			c = n - n
		}
		f32s(coef)[0] = c
	})
}

// adamWCoef are the numbers of a step in the precision of the elements.
type adamWCoef struct {
	grad  float32 // clipping
	decay float32 // 1 - lr·wd
	l2    float32 // wd of Adam, added to the gradient
	m     float32 // 1 - β1
	v, g2 float32 // β2, 1 - β2
	root  float32 // sqrt(1 - β2^t)
	eps   float32
	step  float32 // lr / (1 - β1^t)
}

// newAdamWCoef is for update t, counted from 1.
func newAdamWCoef(h device.AdamWOptions, t int32) adamWCoef {
	correction1, correction2 := 1-math.Pow(h.Beta1, float64(t)), 1-math.Pow(h.Beta2, float64(t))
	c := adamWCoef{
		grad:  1,
		decay: float32(1 - h.LR*h.WeightDecay),
		m:     float32(1 - h.Beta1),
		v:     float32(h.Beta2),
		g2:    float32(1 - h.Beta2),
		root:  float32(math.Sqrt(correction2)),
		eps:   float32(h.Eps),
		step:  float32(h.LR / correction1),
	}
	if h.L2 {
		c.decay, c.l2 = 1, float32(h.WeightDecay)
	}
	return c
}

// AdamW is one step of the optimizer; see device.Kernels.
func (s *Stream) AdamW(p, g, m, v []*tensor.Tensor, steps, coef *tensor.Tensor, o device.AdamWOptions) {
	must.AdamW(p, g, m, v, steps, coef)
	params, grads, ms, vs := piecesOf(p), piecesOf(g), piecesOf(m), piecesOf(v)
	s.do(func() {
		by := float32(1)
		if coef != nil {
			by = f32s(coef)[0]
		}
		if by != by { // NaN
			return
		}
		i32s(steps)[0]++
		c := newAdamWCoef(o, i32s(steps)[0])
		c.grad = by
		s.workers.run(len(params), func(i int) { s.dev.table.adamW(params[i].x, grads[i].x, ms[i].x, vs[i].x, &c) })
	})
}

func adamWGo(p, g, m, v vec, c *adamWCoef) {
	params, ms, vs := p.f32(), m.f32(), v.f32()
	for i := range params {
		grad := g.at(i)*c.grad + c.l2*params[i]
		params[i] *= c.decay
		ms[i] += c.m * (grad - ms[i])
		vs[i] = c.v*vs[i] + c.g2*grad*grad
		params[i] -= c.step * ms[i] / (float32(math.Sqrt(float64(vs[i])))/c.root + c.eps)
	}
}
