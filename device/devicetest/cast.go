// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"fmt"
	"math"

	"octet/dtype"
	"octet/tensor"
)

var formats = []dtype.Type{dtype.Float8E4M3, dtype.Float8E5M2}

// special are the values that casts get wrong.
var special = []float64{0, math.Copysign(0, -1), 1, -1, 0.3, 1.0625, 1.1875, 17, 19, 447, 449, 464, 1e9, -57344, 61440, -3e38,
	math.Ldexp(1, -9), math.Ldexp(1, -10), 3 * math.Ldexp(1, -11), 0.96875 / 64, 0.001, math.Ldexp(1, -16), math.Ldexp(1, -17),
	1e-40, math.Inf(1), math.Inf(-1), math.NaN()}

// mixture is n values over many magnitudes, specials among them.
func (h *harness) mixture(ty dtype.Type, shape ...int) input {
	v := make([]float64, numel(shape))
	for i := range v {
		v[i] = h.rand.NormFloat64() * math.Exp(6*h.rand.NormFloat64())
		if h.rand.IntN(10) == 0 {
			v[i] = special[h.rand.IntN(len(special))]
		}
	}
	return h.put(ty, v, shape...)
}

// encodeScaled is the cast in Go: one float32 rounding of the product, then
// the format's.
func encodeScaled(f dtype.Format, v []float64, scale float32) []float64 {
	codes := make([]float64, len(v))
	for i, x := range v {
		codes[i] = float64(f.Decode(f.Encode(float32(x) * scale)))
	}
	return codes
}

func castCases() []kernelCase {
	var all []kernelCase
	for _, n := range sizes {
		all = append(all, kernelCase{fmt.Sprintf("cast/%d", n), func(h *harness) {
			eachCast(func(name string, from, to dtype.Type) {
				x, scale, q := h.mixture(from, n), h.put(dtype.Float32, []float64{149.33333}), h.out(to, n)
				h.Cast(tensor.Operand{Tensor: q, Scale: scale.Tensor}, tensor.Operand{}, tensor.Operand{Tensor: x.Tensor})
				h.want(name, q, encodeScaled(to.Format(), x.v, float32(scale.v[0])), 0)
				plain := h.out(to, n)
				h.Cast(tensor.Operand{Tensor: plain}, tensor.Operand{}, tensor.Operand{Tensor: x.Tensor})
				h.want(name+" unscaled", plain, encodeScaled(to.Format(), x.v, 1), 0)
			})
		}}, kernelCase{fmt.Sprintf("dynamic cast/%d", n), func(h *harness) {
			eachCast(func(name string, from, to dtype.Type) {
				for _, pow2 := range []bool{false, true} {
					x, scale, inv, q := h.normal(from, n), h.out(dtype.Float32), h.out(dtype.Float32), h.out(to, n)
					h.DynamicCast(tensor.Operand{Tensor: q, Scale: scale, Inv: inv}, tensor.Operand{}, tensor.Operand{Tensor: x.Tensor}, pow2)
					want := to.Format().Scale(float32(largest(x.v)), pow2)
					h.want(fmt.Sprint(name, " scale ", pow2), scale, []float64{float64(want)}, 0)
					h.want(fmt.Sprint(name, " reciprocal ", pow2), inv, []float64{float64(1 / want)}, 0)
					h.want(fmt.Sprint(name, " ", pow2), q, encodeScaled(to.Format(), x.v, want), 0)
				}
			})
		}}, kernelCase{fmt.Sprintf("widen/%d", n), func(h *harness) {
			for _, from := range formats {
				for _, to := range both {
					x, scale, y := h.normal(from, n), h.put(dtype.Float32, []float64{149.33333}), h.out(to, n)
					h.Cast(tensor.Operand{Tensor: y}, tensor.Operand{}, tensor.Operand{Tensor: x.Tensor, Scale: scale.Tensor})
					want := make([]float64, n)
					for i, v := range x.v {
						want[i] = float64(float32(v) / float32(scale.v[0]))
					}
					h.want(fmt.Sprint(from, " to ", to), y, round(to, want), 0)
				}
			}
		}})
	}
	for _, s := range [][2]int{{0, 3}, {1, 1}, {5, 3}, {64, 64}, {65, 130}, {300, 48}} {
		rows, cols := s[0], s[1]
		all = append(all, kernelCase{fmt.Sprintf("cast transposed/%dx%d", rows, cols), func(h *harness) {
			eachCast(func(name string, from, to dtype.Type) {
				x, scale := h.mixture(from, rows, cols), h.put(dtype.Float32, []float64{0.1})
				want := encodeScaled(to.Format(), x.v, float32(scale.v[0]))
				h.castBoth(name, to, rows, cols, scale.Tensor, tensor.Operand{Tensor: x.Tensor}, want)
			})
		}}, kernelCase{fmt.Sprintf("cast of float8/%dx%d", rows, cols), func(h *harness) {
			for _, from := range formats {
				for _, to := range formats {
					name := fmt.Sprint(from, " to ", to)
					x, old, scale := h.mixture(from, rows, cols), h.put(dtype.Float32, []float64{3}), h.put(dtype.Float32, []float64{0.7})
					divided, times := make([]float64, len(x.v)), make([]float64, len(x.v))
					for i, v := range x.v {
						divided[i], times[i] = float64(float32(v)/3), float64(float32(v)*float32(1./3))
					}
					src := tensor.Operand{Tensor: x.Tensor, Scale: old.Tensor, Inv: h.reciprocal(old)}
					h.castBoth(name, to, rows, cols, scale.Tensor, src, encodeScaled(to.Format(), divided, float32(scale.v[0])))
					src.Scale = nil
					h.castBoth(name+" by its reciprocal", to, rows, cols, nil, src, encodeScaled(to.Format(), times, 1))
				}
			}
		}}, kernelCase{fmt.Sprintf("dynamic cast transposed/%dx%d", rows, cols), func(h *harness) {
			eachCast(func(name string, from, to dtype.Type) {
				x, scale, inv := h.normal(from, rows, cols), h.out(dtype.Float32), h.out(dtype.Float32)
				q := tensor.Operand{Tensor: h.out(to, rows, cols), Scale: scale, Inv: inv}
				qT := tensor.Operand{Tensor: h.out(to, cols, rows), Scale: scale, Inv: inv, Transposed: true}
				alone := tensor.Operand{Tensor: h.out(to, cols, rows), Scale: h.out(dtype.Float32), Inv: h.out(dtype.Float32), Transposed: true}
				h.DynamicCast(q, qT, tensor.Operand{Tensor: x.Tensor}, false)
				h.DynamicCast(tensor.Operand{}, alone, tensor.Operand{Tensor: x.Tensor}, false)
				by := to.Format().Scale(float32(largest(x.v)), false)
				want := encodeScaled(to.Format(), x.v, by)
				h.want(name, q.Tensor, want, 0)
				for _, o := range []tensor.Operand{qT, alone} {
					h.want(name+" transposed", o.Tensor, transposed(want, rows, cols), 0)
					h.want(name+" scale", o.Scale, []float64{float64(by)}, 0)
					h.want(name+" reciprocal", o.Inv, []float64{float64(1 / by)}, 0)
				}
			})
		}}, kernelCase{fmt.Sprintf("transpose/%dx%d", rows, cols), func(h *harness) {
			for _, ty := range append(append([]dtype.Type{dtype.Int32}, both...), formats...) {
				x, y := h.ints(100, rows, cols), h.out(ty, cols, rows)
				if ty != dtype.Int32 {
					x = h.normal(ty, rows, cols)
				}
				h.Transpose(y, x.Tensor)
				h.want(ty.String(), y, transposed(x.v, rows, cols), 0)
			}
		}})
	}
	return all
}

// castBoth casts src [rows,cols] to each layout alone and to both.
func (h *harness) castBoth(name string, to dtype.Type, rows, cols int, scale *tensor.Tensor, src tensor.Operand, want []float64) {
	none := tensor.Operand{}
	q := func() tensor.Operand { return tensor.Operand{Tensor: h.out(to, rows, cols), Scale: scale} }
	qT := func() tensor.Operand {
		return tensor.Operand{Tensor: h.out(to, cols, rows), Scale: scale, Transposed: true}
	}
	alone, aloneT, two, twoT := q(), qT(), q(), qT()
	h.Cast(alone, none, src)
	h.Cast(none, aloneT, src)
	h.Cast(two, twoT, src)
	for i, o := range []tensor.Operand{alone, two} {
		h.want(fmt.Sprint(name, " ", i), o.Tensor, want, 0)
	}
	for i, o := range []tensor.Operand{aloneT, twoT} {
		h.want(fmt.Sprint(name, " transposed ", i), o.Tensor, transposed(want, rows, cols), 0)
	}
}

// transposed is v [rows,cols] as [cols,rows].
func transposed(v []float64, rows, cols int) []float64 {
	t := make([]float64, len(v))
	for i, x := range v {
		t[i%cols*rows+i/cols] = x
	}
	return t
}

func eachCast(f func(name string, from, to dtype.Type)) {
	for _, from := range both {
		for _, to := range formats {
			f(fmt.Sprint(from, " to ", to), from, to)
		}
	}
}

func largest(v []float64) float64 {
	var top float64
	for _, x := range v {
		if math.IsNaN(x) {
			return x
		}
		top = max(top, math.Abs(x))
	}
	return top
}

func amaxCases() []kernelCase {
	return []kernelCase{{"amax", func(h *harness) {
		var ts []*tensor.Tensor
		var want []float64
		for _, n := range sizes {
			for _, ty := range both {
				x := h.normal(ty, n)
				ts, want = append(ts, x.Tensor), append(want, largest(x.v))
			}
		}
		for _, v := range [][]float64{{-3, 2}, {math.Inf(-1), 1}, {math.NaN(), math.Inf(1)}, {1e-40}, {math.Copysign(0, -1)}} {
			x := h.put(dtype.Float32, v, len(v))
			ts, want = append(ts, x.Tensor), append(want, largest(x.v))
		}
		dst := h.out(dtype.Float32, len(ts))
		h.Amax(dst, ts)
		h.want("amax", dst, want, 0)

		nans := map[dtype.Type][]byte{dtype.Float32: {0, 0, 0, 0xBF, 0x45, 0x23, 0x81, 0xFF}, dtype.BFloat16: {0, 0xBF, 0x81, 0xFF}} // -0.5, -NaN
		for _, ty := range both {
			x, dst := h.pool.New(ty, 2), h.out(dtype.Float32, 1)
			h.Upload(x, nans[ty])
			h.Amax(dst, []*tensor.Tensor{x})
			h.want(fmt.Sprint("bits of a nan ", ty), tensor.At(dst.Buf, dst.Off, dtype.Int32, 1), []float64{0x7FC00000}, 0)
		}
	}}, {"scales", func(h *harness) {
		amax := h.put(dtype.Float32, []float64{0, 1e-13, 5e-5, 1, 65504, 3e38, math.Inf(1), math.NaN()}, 8)
		for _, pow2 := range []bool{false, true} {
			for _, ty := range formats {
				dst, inv, want, inverse := h.out(dtype.Float32, 8), h.out(dtype.Float32, 8), make([]float64, 8), make([]float64, 8)
				for i, a := range amax.v {
					scale := ty.Format().Scale(float32(a), pow2)
					want[i], inverse[i] = float64(scale), float64(1/scale)
				}
				h.Scales(dst, inv, amax.Tensor, []dtype.Type{ty}, pow2)
				h.want(fmt.Sprint("reciprocal ", ty, " ", pow2), inv, inverse, 0)
				h.want(fmt.Sprint(ty, " ", pow2), dst, want, 0)
			}
		}
		two, mixed, inv := h.put(dtype.Float32, []float64{2, 2}, 2), h.out(dtype.Float32, 2), h.out(dtype.Float32, 2)
		h.Scales(mixed, inv, two.Tensor, formats, false)
		h.want("one format each", mixed, []float64{224, 28672}, 0)
	}}}
}
