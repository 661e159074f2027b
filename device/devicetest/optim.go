// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"fmt"
	"math"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// adamW is the loop form of PyTorch's torch.optim.AdamW, or Adam with L2: every
// operation rounded to float32, because a gradient near zero makes the quotient
// depend on each rounding.
func adamW(p, g, m, v []float64, coef, t float64, h device.AdamWOptions) {
	correction1, correction2 := 1-math.Pow(h.Beta1, t), 1-math.Pow(h.Beta2, t)
	for i := range p {
		param, grad := float32(p[i]), float32(g[i])*float32(coef)
		if h.L2 {
			grad += float32(h.WeightDecay) * param
		} else {
			param *= float32(1 - h.LR*h.WeightDecay)
		}
		first, second := float32(m[i]), float32(v[i])
		first += float32(1-h.Beta1) * (grad - first)
		second = float32(h.Beta2)*second + float32(1-h.Beta2)*grad*grad
		denom := float32(math.Sqrt(float64(second)))/float32(math.Sqrt(correction2)) + float32(h.Eps)
		param -= float32(h.LR/correction1) * first / denom
		p[i], m[i], v[i] = float64(param), float64(first), float64(second)
	}
}

func optimCases() []kernelCase {
	all := []kernelCase{{"sum of squares", func(h *harness) {
		var ts []*tensor.Tensor
		var want float64
		for _, n := range sizes {
			for _, ty := range both {
				x := h.normal(ty, n)
				ts, want = append(ts, x.Tensor), want+dot(x.v, x.v)
			}
		}
		dst := h.out(dtype.Float32, 1)
		h.SumSquares(dst, ts)
		h.want("sum", dst, []float64{want}, 1e-7)
		none := h.out(dtype.Float32, 1)
		h.SumSquares(none, nil)
		h.want("sum of nothing", none, []float64{0}, 0)
	}}, {"clip", func(h *harness) {
		for _, c := range []struct{ sumsq, max, norm, coef float64 }{
			{16, 1, 4, 0.25}, {0.25, 1, 0.5, 1}, {16, 0, 4, 1}, {math.Inf(1), 1, math.Inf(1), math.NaN()}, {math.Inf(1), 0, math.Inf(1), math.NaN()}, {math.NaN(), 1, math.NaN(), math.NaN()},
		} {
			sumsq, norm, coef := h.put(dtype.Float32, []float64{c.sumsq}, 1), h.out(dtype.Float32, 1), h.out(dtype.Float32, 1)
			h.ClipCoef(norm, coef, sumsq.Tensor, float32(c.max))
			h.want(fmt.Sprint("norm of ", c.sumsq), norm, []float64{c.norm}, 0)
			h.want(fmt.Sprint("coef of ", c.sumsq), coef, []float64{c.coef}, 1e-6)
		}
	}}}
	for _, l2 := range []bool{false, true} {
		all = append(all, kernelCase{fmt.Sprint("adamw/l2 ", l2), func(h *harness) {
			for _, ty := range both {
				var p, g, m, v []*tensor.Tensor
				var inputs [][4]input
				for _, n := range sizes {
					in := [4]input{h.normal(dtype.Float32, n), h.normal(ty, n), h.put(dtype.Float32, make([]float64, n), n), h.put(dtype.Float32, make([]float64, n), n)}
					inputs = append(inputs, in)
					p, g, m, v = append(p, in[0].Tensor), append(g, in[1].Tensor), append(m, in[2].Tensor), append(v, in[3].Tensor)
				}
				coef, nan := h.put(dtype.Float32, []float64{0.3}, 1), h.put(dtype.Float32, []float64{math.NaN()}, 1)
				updates := h.put(dtype.Int32, []float64{0}, 1)
				for t := 1.0; t <= 3; t++ {
					step := device.AdamWOptions{LR: 0.01, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, L2: l2}
					clip, by := coef.v[0], coef.Tensor
					if t == 2 {
						clip, by = 1, nil
					}
					h.AdamW(p, g, m, v, updates.Tensor, nan.Tensor, step) // writes nothing
					h.AdamW(p, g, m, v, updates.Tensor, by, step)
					for _, in := range inputs {
						adamW(in[0].v, in[1].v, in[2].v, in[3].v, clip, t, step)
					}
				}
				h.want("updates", updates.Tensor, []float64{3}, 0)
				for i, in := range inputs {
					h.want(fmt.Sprint("p ", ty, sizes[i]), p[i], in[0].v, 2e-7)
					h.want(fmt.Sprint("m ", ty, sizes[i]), m[i], in[2].v, 2e-7)
					h.want(fmt.Sprint("v ", ty, sizes[i]), v[i], in[3].v, 4e-7)
				}
			}
		}})
	}
	return all
}
