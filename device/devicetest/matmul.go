// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"fmt"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

func matMulCases() []kernelCase {
	var all []kernelCase
	f32, bf16, e4m3, e5m2 := dtype.Float32, dtype.BFloat16, dtype.Float8E4M3, dtype.Float8E5M2
	types := [][3]dtype.Type{{f32, f32, f32}, {bf16, bf16, bf16}, {f32, bf16, bf16}, {bf16, e4m3, e4m3}, {f32, e5m2, e4m3}}
	for _, s := range [][3]int{{0, 4, 4}, {1, 1, 1}, {3, 5, 0}, {17, 9, 33}, {64, 48, 80}, {130, 70, 150}} {
		for _, ty := range types {
			name := fmt.Sprintf("matmul/%dx%dx%d/%v = %v x %v", s[0], s[1], s[2], ty[0], ty[1], ty[2])
			all = append(all, kernelCase{name, func(h *harness) {
				for _, o := range []device.MatMulOptions{{}, {TransB: true}, {TransA: true}, {TransA: true, TransB: true}, {TransB: true, Accumulate: true}} {
					h.matMul(s[0], s[1], s[2], ty, o)
				}
			}})
		}
	}
	return all
}

// matMul checks dst [m,n] = a [m,k] · b [k,n].
func (h *harness) matMul(m, n, k int, ty [3]dtype.Type, o device.MatMulOptions) {
	at := func(trans bool, r, c, rows, cols int) int {
		if trans {
			return c*rows + r
		}
		return r*cols + c
	}
	shape := func(trans bool, rows, cols int) []int {
		if trans {
			return []int{cols, rows}
		}
		return []int{rows, cols}
	}
	a, b := h.normal(ty[1], shape(o.TransA, m, k)...), h.normal(ty[2], shape(o.TransB, k, n)...)
	dst := h.normal(ty[0], m, n)
	opA, opB, scale := tensor.Operand{Tensor: a.Tensor}, tensor.Operand{Tensor: b.Tensor}, 1.0
	if ty[1].IsFloat8() {
		sa, sb := h.put(dtype.Float32, []float64{2}), h.put(dtype.Float32, []float64{0.7})
		opA.Scale, opA.Inv, opB.Scale, opB.Inv = sa.Tensor, h.reciprocal(sa), sb.Tensor, h.reciprocal(sb)
		scale = sa.v[0] * sb.v[0]
	}
	want := make([]float64, m*n)
	for i := range m {
		for j := range n {
			var sum float64
			for l := range k {
				sum += a.v[at(o.TransA, i, l, m, k)] * b.v[at(o.TransB, l, j, k, n)]
			}
			want[i*n+j] = sum / scale
			if o.Accumulate {
				want[i*n+j] += dst.v[i*n+j]
			}
		}
	}
	h.MatMul(dst.Tensor, opA, opB, o)
	h.want(fmt.Sprintf("%+v", o), dst.Tensor, want, tolerance(ty[0]))
}

// reciprocal is the inverse of each number of a scale.
func (h *harness) reciprocal(scale input) *tensor.Tensor {
	inv := make([]float64, len(scale.v))
	for i, v := range scale.v {
		inv[i] = float64(1 / float32(v))
	}
	return h.put(dtype.Float32, inv, scale.Shape...).Tensor
}
