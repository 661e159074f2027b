// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"fmt"
	"math"

	"octet/dtype"
	"octet/tensor"
)

// bitsOf is a float32 tensor as its bits.
func bitsOf(t *tensor.Tensor) *tensor.Tensor {
	return tensor.At(t.Buf, t.Off, dtype.Int32, t.Numel())
}

// wantAmax wants amax to be that of what a kernel has made, bit for bit, and that to be what
// it makes without.
func (h *harness) wantAmax(name string, amax, made, without *tensor.Tensor) {
	h.Helper()
	read := h.out(dtype.Float32)
	h.Amax(read, []*tensor.Tensor{made})
	h.want(name+" amax", bitsOf(amax), h.values(bitsOf(read)), 0)
	h.want(name+" made", made, h.values(without), 0)
}

// madeAmaxCases compare amaxes that kernels take of what they make with those of a read.
func madeAmaxCases() []kernelCase {
	odd := map[string]float64{"": 0, "a nan": math.NaN(), "an infinity": math.Inf(-1)}
	var all []kernelCase
	for _, s := range [][2]int{{0, 4}, {1, 1}, {1, 5000}, {3, 7}, {40, 34}, {700, 65}} {
		rows, d := s[0], s[1]
		all = append(all, kernelCase{fmt.Sprintf("amax of what is made/%dx%d", rows, d), func(h *harness) {
			for _, from := range both {
				for _, to := range both {
					for _, what := range []string{"", "a nan", "an infinity"} {
						name := fmt.Sprint(from, " to ", to, " ", what, " ")
						x, dy, w := h.normal(from, rows, d), h.normal(to, rows, d), h.normal(to, d)
						if last := len(x.v) - 1; what != "" && last >= 0 {
							x.v[last] = odd[what]
							x = h.put(from, x.v, rows, d)
						}
						h.producers(name, x.Tensor, dy.Tensor, w.Tensor, to, rows, d)
					}
				}
			}
		}})
	}
	// Heads whose rows end within a vector, fill one, and that devices have kernels of their own for; queries that see nothing.
	for _, a := range []heads{
		{0, 4, 4, 1, 1, 8, nil, nil}, {1, 3, 0, 2, 1, 64, nil, nil}, {2, 7, 7, 4, 2, 6, nil, nil}, {2, 70, 70, 4, 2, 16, nil, nil}, {1, 9, 130, 2, 1, 20, upTo(121, 9), nil},
		{2, 40, 33, 2, 1, 64, nil, upTo(5, 33)}, {1, 67, 67, 2, 2, 128, nil, nil},
	} {
		all = append(all, kernelCase{fmt.Sprintf("amax of what attention makes/%+v", a), func(h *harness) {
			for _, ty := range both {
				for _, what := range []string{"", "a nan", "an infinity"} {
					h.attends(fmt.Sprint(ty, " ", what, " "), newAttended(h, ty, a), odd[what])
				}
			}
		}})
	}
	return append(all, kernelCase{"dynamic cast by an amax", castsByAmax})
}

// attends has the last key's value and the last query's gradient odd, unless that is 0.
func (h *harness) attends(name string, x *attended, odd float64) {
	h.Helper()
	for _, in := range []*input{&x.v, &x.do} {
		if last := len(in.v) - 1; odd != 0 && last >= 0 {
			in.v[last] = odd
			*in = h.put(in.Type, in.v, in.Shape...)
		}
	}
	made, amax := *x, [2]*tensor.Tensor{h.out(dtype.Float32), h.out(dtype.Float32)}
	for i, y := range []*attended{x, &made} {
		y.o, y.dv = h.out(y.o.Type, y.o.Shape...), h.out(y.dv.Type, y.dv.Shape...)
		if i == 0 {
			y.forward(h)
			y.backward(h)
			continue
		}
		h.Attention(y.o, y.lse, y.q.Tensor, y.k.Tensor, y.v.Tensor, y.qpos, y.kpos, amax[0])
		h.AttentionGrad(y.dq, y.dk, y.dv, y.do.Tensor, y.q.Tensor, y.k.Tensor, y.v.Tensor, y.o, y.lse, y.qpos, y.kpos, amax[1])
	}
	h.wantAmax(name+"attention", amax[0], made.o, x.o)
	h.wantAmax(name+"attention's gradient of values", amax[1], made.dv, x.dv)
}

func (h *harness) producers(name string, x, dy, w *tensor.Tensor, to dtype.Type, rows, d int) {
	h.Helper()
	rstd, dw, amax := h.out(dtype.Float32, rows), h.out(dtype.Float32, d), func() *tensor.Tensor { return h.out(dtype.Float32) }
	var made, without [2]*tensor.Tensor
	fresh := func() {
		for i := range made {
			made[i], without[i] = h.out(to, rows, d), h.out(to, rows, d)
		}
	}
	fresh()
	a := amax()
	h.RMSNorm(without[0], nil, rstd, x, nil, w, 1e-5, nil)
	h.RMSNorm(made[0], nil, rstd, x, nil, w, 1e-5, a)
	h.wantAmax(name+"rmsnorm", a, made[0], without[0])

	fresh()
	a = amax()
	sum := h.out(to, rows, d)
	h.RMSNorm(without[0], sum, rstd, x, dy, w, 1e-5, nil)
	h.RMSNorm(made[0], sum, rstd, x, dy, w, 1e-5, a)
	h.wantAmax(name+"rmsnorm and residual", a, made[0], without[0])

	fresh()
	a = amax()
	h.RMSNormGrad(without[0], dw, dy, x, rstd, w, nil, nil)
	h.RMSNormGrad(made[0], dw, dy, x, rstd, w, nil, a)
	h.wantAmax(name+"rmsnorm's gradient", a, made[0], without[0])

	fresh()
	a = amax()
	h.Copy(without[0], x)
	h.Copy(made[0], x)
	h.RMSNormGrad(without[0], dw, dy, x, rstd, w, without[0], nil)
	h.RMSNormGrad(made[0], dw, dy, x, rstd, w, made[0], a)
	h.wantAmax(name+"rmsnorm's gradient over add", a, made[0], without[0])

	fresh()
	a = amax()
	h.SwiGLU(without[0], x, dy, nil)
	h.SwiGLU(made[0], x, dy, a)
	h.wantAmax(name+"swiglu", a, made[0], without[0])

	if d%2 == 0 {
		fresh()
		a = amax()
		table := h.normal(dtype.Float32, rows+1, d/2, 2) // any numbers: a kernel multiplies by them
		for i, t := range []*tensor.Tensor{without[0], made[0]} {
			h.Copy(t, x)
			h.RoPE(t.View(1, rows, 1, d), table.Tensor, nil, true, []*tensor.Tensor{nil, a}[i])
		}
		h.wantAmax(name+"rope", a, made[0], without[0])
	}

	for _, asked := range [][2]bool{{true, true}, {true, false}, {false, true}} {
		fresh()
		var of [2]*tensor.Tensor
		for i := range of {
			if asked[i] {
				of[i] = amax()
			}
		}
		h.SwiGLUGrad(without[0], without[1], dy, x, dy, nil, nil)
		h.SwiGLUGrad(made[0], made[1], dy, x, dy, of[0], of[1])
		for i := range of {
			if asked[i] {
				h.wantAmax(fmt.Sprint(name, "swiglu's gradient ", asked, i), of[i], made[i], without[i])
			}
		}
	}
}

// castsByAmax: a dynamic cast takes the amax that it is given, whatever the tensor holds, but where it
// has more than one scale or something to fold in.
func castsByAmax(h *harness) {
	const rows, cols, given = 37, 70, 1000
	for _, from := range both {
		for _, ty := range formats {
			x := h.normal(from, rows, cols)
			src := tensor.Operand{Tensor: x.Tensor, Amax: h.put(dtype.Float32, []float64{given}).Tensor}
			dynamic := func(x tensor.Operand, turned bool, scales ...int) tensor.Operand {
				q := tensor.Operand{Tensor: h.out(ty, rows, cols), Scale: h.out(dtype.Float32, scales...), Inv: h.out(dtype.Float32, scales...)}
				if turned {
					q.Tensor, q.Transposed = h.out(ty, cols, rows), true
					h.DynamicCast(tensor.Operand{}, q, x, false)
				} else {
					h.DynamicCast(q, tensor.Operand{}, x, false)
				}
				return q
			}
			scale := ty.Format().Scale(given, false)
			for _, turned := range []bool{false, true} {
				name := fmt.Sprint(from, " to ", ty, " ", turned, " ")
				q := dynamic(src, turned)
				h.want(name+"scale", q.Scale, []float64{float64(scale)}, 0)
				h.want(name+"reciprocal", q.Inv, []float64{float64(1 / scale)}, 0)
				h.want(name+"amax stays", src.Amax, []float64{given}, 0)
				codes := make([]float64, rows*cols)
				for i, v := range x.v {
					at := i
					if turned {
						at = i%cols*rows + i/cols
					}
					codes[at] = float64(ty.Format().Decode(ty.Format().Encode(float32(v) * scale)))
				}
				h.want(name+"codes", q.Tensor, codes, 0)
				for _, scales := range [][]int{{rows, 1}, {1, cols}} {
					with, without := dynamic(src, turned, scales...), dynamic(tensor.Operand{Tensor: x.Tensor}, turned, scales...)
					h.want(fmt.Sprint(name, scales), with.Scale, h.values(without.Scale), 0)
				}
				folded := tensor.Operand{Tensor: x.Tensor, Inv: h.put(dtype.Float32, []float64{4}).Tensor}
				want := dynamic(folded, turned)
				folded.Amax = src.Amax
				h.want(name+"folded", dynamic(folded, turned).Scale, h.values(want.Scale), 0)
			}
		}
	}
}
