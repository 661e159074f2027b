// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"fmt"
	"math"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// castStatsCases cast by scales that are too large for some values and too small for
// others, one for all, one a row and one a column, as the cast lies and transposed, of
// a source with scales of its own too, and measure all into the same memory.
func castStatsCases() []kernelCase {
	var all []kernelCase
	for _, s := range [][2]int{{0, 3}, {1, 1}, {5, 3}, {65, 130}, {300, 200}} {
		rows, cols := s[0], s[1]
		all = append(all, kernelCase{fmt.Sprintf("cast stats/%dx%d", rows, cols), func(h *harness) {
			eachCast(func(name string, from, to dtype.Type) {
				x := h.normal(from, rows, cols)
				for i, shape := range [][]int{{}, {rows, 1}, {1, cols}} {
					if numel(shape) == 0 {
						continue
					}
					scaling := []string{"tensor", "row", "column"}[i]
					scales := make([]float64, numel(shape))
					for i := range scales {
						scales[i] = []float64{149.33333, 1 << 19, 1. / (1 << 16)}[i%3]
					}
					h.castStats(fmt.Sprint(name, ", a scale a ", scaling), to, x, h.put(dtype.Float32, scales, shape...))
				}
			})
		}})
	}
	all = append(all, kernelCase{"cast stats/not numbers", func(h *harness) {
		x := h.put(dtype.Float32, []float64{1, math.NaN(), 2}, 1, 3)
		h.castStats("NaN", dtype.Float8E4M3, x, h.put(dtype.Float32, []float64{1}))
	}})
	return all
}

func (h *harness) castStats(name string, to dtype.Type, x input, scale input) {
	rows, cols := x.Tensor.Matrix()
	f := to.Format()
	limit := float64(f.Max) + float64(f.Max-f.Decode(f.Encode(f.Max)-1))/2
	codes, inverse := make([]float64, len(x.v)), make([]float64, len(scale.v))
	maxima, sums := make([]float64, device.NumCastMaxima), make([]float64, device.NumCastSums)
	raise := func(to *float64, v float64) {
		if *to = math.Max(*to, v); math.IsNaN(v) {
			*to = v
		}
	}
	for i, s := range scale.v {
		inverse[i] = float64(1 / float32(s))
		raise(&maxima[device.CastMaxScale], float64(float32(s)))
		raise(&maxima[device.CastMaxInv], inverse[i])
	}
	sums[device.CastCount] = float64(len(x.v))
	for i, v := range x.v {
		at := 0
		switch len(scale.Shape) {
		case 2:
			if at = i / cols; scale.Shape[0] == 1 && cols > 1 {
				at = i % cols
			}
		}
		scaled := float32(v) * float32(scale.v[at])
		codes[i] = float64(f.Decode(f.Encode(scaled)))
		raise(&maxima[device.CastAmax], math.Abs(v))
		if math.Abs(float64(scaled)) > limit {
			sums[device.CastSaturated]++
		}
		if codes[i] == 0 && v != 0 {
			sums[device.CastUnderflowed]++
		}
		off := v - float64(float32(codes[i])*float32(inverse[at]))
		sums[device.CastSignal] += v * v
		sums[device.CastError] += off * off
	}
	inv := h.put(dtype.Float32, inverse, scale.Shape...)
	q := tensor.Operand{Tensor: h.put(to, codes, rows, cols).Tensor, Scale: scale.Tensor, Inv: inv.Tensor}
	qT := tensor.Operand{Tensor: h.put(to, transposed(codes, rows, cols), cols, rows).Tensor, Scale: scale.Tensor, Inv: inv.Tensor, Transposed: true}
	most, add := h.out(dtype.Float32, len(maxima)), h.out(dtype.Float32, len(sums))
	h.Zero(most)
	h.Zero(add)
	h.CastStats(most, add, tensor.Operand{Tensor: x.Tensor}, q)
	h.CastStats(most, add, tensor.Operand{Tensor: x.Tensor}, qT)
	// Of twice the values, with a half folded in.
	twice, half := make([]float64, len(x.v)), make([]float64, cols)
	for i, v := range x.v {
		twice[i] = 2 * v
	}
	for i := range half {
		half[i] = 0.5
	}
	h.CastStats(most, add, tensor.Operand{Tensor: h.put(x.Type, twice, rows, cols).Tensor, Inv: h.put(dtype.Float32, half, 1, cols).Tensor}, q)
	for i := range sums {
		sums[i] *= 3
	}
	h.want(name+" maxima", most, maxima, 0)
	h.want(name+" counts", add.Rows(0, device.CastSignal), sums[:device.CastSignal], 0)
	for i := device.CastSignal; i < device.NumCastSums; i++ {
		h.want(fmt.Sprint(name, " sum ", i), add.Rows(i, i+1), sums[i:i+1], 1e-5)
	}
}
