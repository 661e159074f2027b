// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"math"

	"octet/device"
	"octet/tensor"
)

// Activate is y = f(x); see device.Kernels.
func (s *Stream) Activate(y, x *tensor.Tensor, f device.Activation) {
	must.Activate(y, x, f)
	s.do(func() {
		vy, vx := vecOf(y), vecOf(x)
		s.pieces(vy.n, pieceLen, func(lo, hi int) { s.dev.table.activate(vy.part(lo, hi), vx.part(lo, hi), f) })
	})
}

// ActivateGrad is dx = dy·f'(x); see device.Kernels.
func (s *Stream) ActivateGrad(dx, dy, x *tensor.Tensor, f device.Activation) {
	must.ActivateGrad(dx, dy, x, f)
	s.do(func() {
		vdx, vdy, vx := vecOf(dx), vecOf(dy), vecOf(x)
		s.pieces(vdx.n, pieceLen, func(lo, hi int) {
			s.dev.table.activateGrad(vdx.part(lo, hi), vdy.part(lo, hi), vx.part(lo, hi), f)
		})
	})
}

func activateGo(y, x vec, f device.Activation) {
	for i := range y.n {
		v, _ := activation(f, float64(x.at(i)))
		y.set(i, float32(v))
	}
}

func activateGradGo(dx, dy, x vec, f device.Activation) {
	for i := range dx.n {
		_, slope := activation(f, float64(x.at(i)))
		dx.set(i, float32(float64(dy.at(i))*slope))
	}
}

// activation is f(x) and f'(x).
func activation(f device.Activation, x float64) (y, slope float64) {
	switch f {
	case device.ReLU:
		if x > 0 {
			slope = 1
		}
		return max(x, 0), slope
	case device.GELU:
		below := math.Erfc(-x/math.Sqrt2) / 2
		return x * below, below + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
	}
	// (1 + tanh(u))/2 is sigmoid(2u), with u = √(2/π)·(x + 0.044715·x³).
	const two = 1.5957691216057308 // 2·√(2/π)
	s := 1 / (1 + math.Exp(-two*(x+0.044715*x*x*x)))
	return x * s, s + x*s*(1-s)*two*(1+3*0.044715*x*x)
}
