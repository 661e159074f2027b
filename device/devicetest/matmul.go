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
				if h.tooLong(s[0] * s[1] * s[2]) {
					return
				}
				for bits := range 16 {
					h.matMul(s[0], s[1], s[2], ty, bits)
				}
			}})
		}
	}
	return append(all, kernelCase{"matmul/scales along the sum", func(h *harness) {
		const m, n, k = 3, 5, 4
		for _, c := range []struct {
			name string
			a, b operandCase
		}{
			{"left", operandCase{lanes: m, k: k, lanesFirst: true, alongK: true}, operandCase{lanes: n, k: k, lanesFirst: true}},
			{"left transposed", operandCase{lanes: m, k: k, alongK: true}, operandCase{lanes: n, k: k, lanesFirst: true}},
			{"right", operandCase{lanes: m, k: k, lanesFirst: true}, operandCase{lanes: n, k: k, alongK: true}},
			{"right transposed", operandCase{lanes: m, k: k, lanesFirst: true}, operandCase{lanes: n, k: k, lanesFirst: true, alongK: true}},
		} {
			for _, ty := range []dtype.Type{dtype.BFloat16, dtype.Float8E4M3} {
				c.a.tn, c.b.tn = true, true
				a, b := h.operand(ty, c.a), h.operand(ty, c.b)
				o := device.MatMulOptions{TransA: !c.a.lanesFirst, TransB: c.b.lanesFirst}
				if !panics(func() { h.MatMul(h.out(dtype.Float32, m, n), a.Operand, b.Operand, o) }) {
					h.Errorf("%s, %v: taken", c.name, ty)
				}
			}
		}
	}})
}

// operandCase is a random operand of a product: lanes by k, the value as it is
// before TransA or TransB.
type operandCase struct {
	lanes, k   int
	lanesFirst bool // the value is [lanes,k], otherwise [k,lanes]
	tn         bool // k is contiguous in memory, otherwise lanes are
	scaled     bool
	lanewise   bool // a scale a lane
	alongK     bool // a scale for each of k, which no device takes
}

// operand is an operand and its value without scale: v(lane, k).
type operand struct {
	tensor.Operand
	v   func(lane, k int) float64
	inv func(lane int) float64
}

func (h *harness) operand(ty dtype.Type, c operandCase) operand {
	memory := []int{c.k, c.lanes}
	if c.tn {
		memory = []int{c.lanes, c.k}
	}
	x := h.normal(ty, memory...)
	o := operand{Operand: tensor.Operand{Tensor: x.Tensor, Transposed: c.tn != c.lanesFirst}, inv: func(int) float64 { return 1 }}
	o.v = func(lane, k int) float64 {
		if c.tn {
			return x.v[lane*c.k+k]
		}
		return x.v[k*c.lanes+lane]
	}
	var shape []int
	switch {
	case c.lanewise && c.lanesFirst:
		shape = []int{c.lanes, 1}
	case c.lanewise:
		shape = []int{1, c.lanes}
	case c.alongK && c.lanesFirst:
		shape = []int{1, c.k}
	case c.alongK:
		shape = []int{c.k, 1}
	case !c.scaled:
		return o
	}
	numbers := make([]float64, numel(shape))
	for i := range numbers {
		numbers[i] = h.rand.Float64() + 0.5
	}
	scale := h.put(dtype.Float32, numbers, shape...)
	o.Scale, o.Inv = scale.Tensor, h.reciprocal(scale)
	o.inv = func(lane int) float64 { return 1 / scale.v[lane%len(scale.v)] }
	return o
}

// matMul checks dst [m,n] = op(a) · op(b). Four bits choose what is transposed,
// by the options and in memory; scales and accumulation follow from them.
func (h *harness) matMul(m, n, k int, ty [3]dtype.Type, bits int) {
	bit := func(i int) bool { return bits>>i&1 == 1 }
	o := device.MatMulOptions{TransA: bit(0), TransB: bit(1), Accumulate: bit(0) != bit(2)}
	a := h.operand(ty[1], operandCase{lanes: m, k: k, lanesFirst: !o.TransA, tn: bit(2), scaled: ty[1].IsFloat8(), lanewise: bit(1) != bit(3)})
	b := h.operand(ty[2], operandCase{lanes: n, k: k, lanesFirst: o.TransB, tn: bit(3), scaled: ty[2].IsFloat8(), lanewise: bit(0) && bit(3)})
	dst := h.normal(ty[0], m, n)
	multiply := func() { h.MatMul(dst.Tensor, a.Operand, b.Operand, o) }
	name := fmt.Sprintf("%+v of %v, %v", o, a, b)
	otherwise := ty[1].IsFloat8() && !bit(2) || ty[2].IsFloat8() && !bit(3)
	want := make([]float64, m*n)
	for i := range m {
		for j := range n {
			var sum float64
			for l := range k {
				sum += a.v(i, l) * b.v(j, l)
			}
			want[i*n+j] = sum * a.inv(i) * b.inv(j)
			if o.Accumulate {
				want[i*n+j] += dst.v[i*n+j]
			}
		}
	}
	if otherwise && h.Float8TN() {
		if panics(multiply) {
			return // the device may refuse it, or be slow
		}
	} else {
		multiply()
	}
	h.want(name, dst.Tensor, want, tolerance(ty[0]))
}

// reciprocal is the inverse of each number of a scale.
func (h *harness) reciprocal(scale input) *tensor.Tensor {
	inv := make([]float64, len(scale.v))
	for i, v := range scale.v {
		inv[i] = float64(1 / float32(v))
	}
	return h.put(dtype.Float32, inv, scale.Shape...).Tensor
}
