// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"fmt"
	"math"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// nanCases check that what is not a number is still seen at the other end.
func nanCases() []kernelCase {
	const rows, d = 5, 40
	nan := math.NaN()
	bad := func(h *harness, ty dtype.Type, at int, shape ...int) input {
		x := h.normal(ty, shape...)
		x.v[at] = nan
		return h.put(ty, x.v, shape...)
	}
	all := func(n int) []float64 {
		v := make([]float64, n)
		for i := range v {
			v[i] = nan
		}
		return v
	}
	return []kernelCase{{"nan", func(h *harness) {
		for _, ty := range both {
			x := bad(h, ty, 2*d+7, rows, d)
			sumsq := h.out(dtype.Float32, 1)
			h.SumSquares(sumsq, []*tensor.Tensor{x.Tensor})
			h.want(fmt.Sprint("sum of squares ", ty), sumsq, all(1), 0)

			q, scale, inv := h.out(dtype.Float8E4M3, rows, d), h.out(dtype.Float32), h.out(dtype.Float32)
			h.DynamicCast(tensor.Operand{Tensor: q, Scale: scale, Inv: inv}, tensor.Operand{}, tensor.Operand{Tensor: x.Tensor}, false)
			h.want(fmt.Sprint("scale ", ty), scale, all(1), 0)
			h.want(fmt.Sprint("codes ", ty), q, all(rows*d), 0)

			w, y, rstd := h.normal(ty, d), h.out(ty, rows, d), h.out(dtype.Float32, rows)
			h.RMSNorm(y, nil, rstd, x.Tensor, nil, w.Tensor, 0, nil)
			normed, _ := rmsNorm(x.v, w.v, 0)
			h.want(fmt.Sprint("rmsnorm ", ty), y, normed, tolerance(ty))

			up, act := h.normal(ty, rows, d), h.out(ty, rows, d)
			gated := make([]float64, rows*d)
			for i, g := range x.v {
				gated[i] = g * sigmoid(g) * up.v[i]
			}
			h.SwiGLU(act, x.Tensor, up.Tensor, nil)
			h.want(fmt.Sprint("swiglu ", ty), act, gated, tolerance(ty))
			for f, name := range []string{device.ReLU: "relu", device.GELU: "gelu", device.GELUTanh: "gelu by tanh"} {
				y := h.out(ty, 1)
				h.Activate(y, h.put(ty, []float64{nan}, 1).Tensor, device.Activation(f))
				h.want(fmt.Sprint(name, " ", ty), y, all(1), 0)
			}
			centered, mean := h.out(ty, rows, d), h.out(dtype.Float32, rows)
			h.LayerNorm(centered, mean, h.out(dtype.Float32, rows), x.Tensor, w.Tensor, w.Tensor, 0)
			normed, _, _ = layerNorm(x.v, w.v, w.v, 0)
			h.want(fmt.Sprint("layernorm ", ty), centered, normed, tolerance(ty))
			errorSum := h.one(0)
			h.SquaredError(errorSum, h.put(ty, x.v, rows, d).Tensor, up.Tensor, h.one(1))
			h.want(fmt.Sprint("squared error ", ty), errorSum, all(1), 0)

			a := newAttended(h, ty, heads{1, rows, rows, 1, 1, d, nil, nil})
			a.q = h.put(ty, x.v, 1, rows, 1, d)
			a.forward(h)
			o, _ := a.attention(x.v, a.k.v, a.v.v)
			h.want(fmt.Sprint("attention ", ty), a.o, o, tolerance(ty))

			targets, loss := h.ints(d, rows), h.one(1)
			h.CrossEntropy(loss, x.Tensor, targets.Tensor, h.one(1))
			h.want(fmt.Sprint("loss ", ty), loss, all(1), 0)
			for c := 2 * d; c < 2*d+7; c++ {
				x.v[c] = math.Inf(-1) // beside the NaN there is nothing in its slice
			}
			parts := vocabSlices(h, ty, x.v, targets, []int{0, 8, d})
			mergeSlices(h, parts)
			loss = h.one(1)
			h.CrossEntropyGrad(loss, parts[1].logits, parts[1].max, parts[1].sum, parts[1].target, targets.Tensor, 8, h.one(1))
			h.want(fmt.Sprint("loss of slices ", ty), loss, all(1), 0)
		}
	}}}
}
