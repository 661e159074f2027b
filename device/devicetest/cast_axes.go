// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"fmt"
	"math"

	"octet/dtype"
	"octet/tensor"
)

// shared are what may share a number of a matrix.
var shared = []tensor.Granularity{tensor.PerTensor, tensor.PerRow, tensor.PerColumn}

// perShape is the shape of the numbers of a [rows,cols].
func perShape(g tensor.Granularity, rows, cols int) []int {
	return map[tensor.Granularity][]int{tensor.PerTensor: {}, tensor.PerRow: {rows, 1}, tensor.PerColumn: {1, cols}}[g]
}

// lane is which of its numbers element i belongs to.
func lane(g tensor.Granularity, i, cols int) int {
	switch g {
	case tensor.PerRow:
		return i / cols
	case tensor.PerColumn:
		return i % cols
	}
	return 0
}

// folding is what a source is multiplied by before its cast.
type folding struct {
	name string
	inv  *tensor.Tensor
	at   func(i int) float32
}

// foldings are none, and one of each kind with some number that is infinite.
func (h *harness) foldings(rows, cols int) []folding {
	all := []folding{{"no fold", nil, func(int) float32 { return 1 }}}
	for _, g := range shared {
		numbers := make([]float64, numel(perShape(g, rows, cols)))
		for i := range numbers {
			numbers[i] = math.Exp2(float64(h.rand.IntN(20)-10)) * (1 + h.rand.Float64())
			if g != tensor.PerTensor && i == 2 {
				numbers[i] = math.Inf(1)
			}
		}
		inv := h.put(dtype.Float32, numbers, perShape(g, rows, cols)...)
		all = append(all, folding{fmt.Sprint("fold of ", g), inv.Tensor, func(i int) float32 { return float32(inv.v[lane(g, i, cols)]) }})
	}
	return all
}

// lanes is a matrix whose rows and columns differ in magnitude, some of zeros,
// some with what is no finite number.
func (h *harness) lanes(ty dtype.Type, rows, cols int) input {
	v := make([]float64, rows*cols)
	for i := range v {
		r, c := i/cols, i%cols
		v[i] = h.rand.NormFloat64() * math.Exp2(float64(r%7-c%5))
		switch {
		case r%11 == 3 || c%13 == 5:
			v[i] = math.Copysign(0, v[i])
		case i == 17 || i == 5*cols:
			v[i] = math.NaN()
		case i == 40:
			v[i] = math.Inf(-1)
		}
	}
	return h.put(ty, v, rows, cols)
}

// axisCases cast with a scale a row or a column, to either layout and to both,
// of sources into which a scale is folded.
func axisCases() []kernelCase {
	var all []kernelCase
	for _, s := range [][2]int{{0, 3}, {3, 0}, {1, 1}, {1, 5}, {5, 1}, {17, 33}, {64, 64}, {70, 130}, {300, 48}} {
		rows, cols := s[0], s[1]
		all = append(all, kernelCase{fmt.Sprintf("dynamic cast by axes/%dx%d", rows, cols), func(h *harness) {
			eachCast(func(name string, from, to dtype.Type) {
				x := h.lanes(from, rows, cols)
				for _, f := range h.foldings(rows, cols) {
					for i, g := range shared {
						h.castByAxis(fmt.Sprintf("%s, %v, %s", name, g, f.name), x, to, g, f, i%2 == 0)
					}
				}
			})
		}}, kernelCase{fmt.Sprintf("cast by axes/%dx%d", rows, cols), func(h *harness) {
			eachCast(func(name string, from, to dtype.Type) {
				x := h.mixture(from, rows, cols)
				for _, g := range shared {
					for _, f := range h.foldings(rows, cols)[g : g+2] {
						scale := h.put(dtype.Float32, h.positive(numel(perShape(g, rows, cols))), perShape(g, rows, cols)...)
						want := encodeFolded(to.Format(), x.v, f, func(i int) float32 { return float32(scale.v[lane(g, i, cols)]) })
						h.castBoth(fmt.Sprintf("%s, %v, %s", name, g, f.name), to, rows, cols, scale.Tensor, tensor.Operand{Tensor: x.Tensor, Inv: f.inv}, want)
					}
				}
			})
		}}, kernelCase{fmt.Sprintf("widen by axes/%dx%d", rows, cols), func(h *harness) {
			for _, from := range formats {
				for _, g := range shared {
					h.widenByAxis(from, rows, cols, g)
				}
			}
		}})
	}
	return append(all, kernelCase{"casts by axes that are refused", refusedAxes})
}

// encodeFolded is the cast in Go: float32 roundings of both products, then the
// format's.
func encodeFolded(f dtype.Format, v []float64, by folding, scale func(i int) float32) []float64 {
	codes := make([]float64, len(v))
	for i, x := range v {
		codes[i] = float64(f.Decode(f.Encode(float32(x) * by.at(i) * scale(i))))
	}
	return codes
}

// castByAxis casts x with its own scales to either layout alone, and to both.
func (h *harness) castByAxis(name string, x input, to dtype.Type, g tensor.Granularity, by folding, pow2 bool) {
	rows, cols := x.Matrix()
	scales := make([]float64, numel(perShape(g, rows, cols)))
	for i, v := range x.v {
		a, top := math.Abs(float64(float32(v)*by.at(i))), &scales[lane(g, i, cols)]
		if !(a <= *top) && !math.IsNaN(*top) {
			*top = a
		}
	}
	inverses := make([]float64, len(scales))
	for i, amax := range scales {
		scale := to.Format().Scale(float32(amax), pow2)
		scales[i], inverses[i] = float64(scale), float64(1/scale)
	}
	want := encodeFolded(to.Format(), x.v, by, func(i int) float32 { return float32(scales[lane(g, i, cols)]) })

	made := func(transposed bool) tensor.Operand {
		shape := []int{rows, cols}
		if transposed {
			shape = []int{cols, rows}
		}
		per := perShape(g, rows, cols)
		return tensor.Operand{Tensor: h.out(to, shape...), Scale: h.out(dtype.Float32, per...), Inv: h.out(dtype.Float32, per...), Transposed: transposed}
	}
	src, none := tensor.Operand{Tensor: x.Tensor, Inv: by.inv}, tensor.Operand{}
	alone, aloneT, two, twoT := made(false), made(true), made(false), made(true)
	twoT.Scale, twoT.Inv = two.Scale, two.Inv
	h.DynamicCast(alone, none, src, pow2)
	h.DynamicCast(none, aloneT, src, pow2)
	h.DynamicCast(two, twoT, src, pow2)
	for i, o := range []tensor.Operand{alone, aloneT, two, twoT} {
		bytes := want
		if o.Transposed {
			bytes = transposed(want, rows, cols)
		}
		h.want(fmt.Sprint(name, " scale ", i), o.Scale, scales, 0)
		h.want(fmt.Sprint(name, " reciprocal ", i), o.Inv, inverses, 0)
		h.want(fmt.Sprint(name, " ", i), o.Tensor, bytes, 0)
	}
}

// widenByAxis divides by a scale, and multiplies by a reciprocal that is alone.
func (h *harness) widenByAxis(from dtype.Type, rows, cols int, g tensor.Granularity) {
	x, per := h.mixture(from, rows, cols), perShape(g, rows, cols)
	scale := h.put(dtype.Float32, h.positive(numel(per)), per...)
	inv := h.put(dtype.Float32, h.positive(numel(per)), per...)
	divided, times := make([]float64, len(x.v)), make([]float64, len(x.v))
	for i, v := range x.v {
		divided[i] = float64(float32(v) / float32(scale.v[lane(g, i, cols)]))
		times[i] = float64(float32(v) * float32(inv.v[lane(g, i, cols)]))
	}
	for _, to := range both {
		for _, c := range []struct {
			name string
			src  tensor.Operand
			want []float64
		}{
			{"scale", tensor.Operand{Tensor: x.Tensor, Scale: scale.Tensor, Inv: h.reciprocal(scale)}, divided},
			{"reciprocal alone", tensor.Operand{Tensor: x.Tensor, Inv: inv.Tensor}, times},
		} {
			y := h.out(to, rows, cols)
			h.Cast(tensor.Operand{Tensor: y}, tensor.Operand{}, c.src)
			h.want(fmt.Sprint(from, " to ", to, " with ", g, ", ", c.name), y, round(to, c.want), 0)
		}
	}
}

// positive are n numbers of no special kind.
func (h *harness) positive(n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = math.Exp2(8*h.rand.Float64() - 4)
	}
	return v
}

// refusedAxes are casts that no device takes.
func refusedAxes(h *harness) {
	const rows, cols = 4, 6
	none := tensor.Operand{}
	of := func(ty dtype.Type, shape, per []int, transposed bool) tensor.Operand {
		o := tensor.Operand{Tensor: h.out(ty, shape...), Transposed: transposed}
		if per != nil {
			o.Scale, o.Inv = h.out(dtype.Float32, per...), h.out(dtype.Float32, per...)
		}
		return o
	}
	e4m3, e5m2, plain, turned := dtype.Float8E4M3, dtype.Float8E5M2, []int{rows, cols}, []int{cols, rows}
	x := tensor.Operand{Tensor: h.normal(dtype.Float32, rows, cols).Tensor}
	folded, scaled := x, x
	folded.Inv, scaled.Scale = h.out(dtype.Float32, cols, 1), h.out(dtype.Float32, rows, 1)
	byRow, byColumn := of(e4m3, plain, []int{rows, 1}, false), of(e4m3, turned, []int{1, cols}, true)
	for name, cast := range map[string]func(){
		"a scale that is neither a row's nor a column's": func() { h.DynamicCast(of(e4m3, plain, []int{cols, 1}, false), none, x, false) },
		"a fold that is neither":                         func() { h.DynamicCast(byRow, none, folded, false) },
		"a source with a scale and no reciprocal":        func() { h.DynamicCast(byRow, none, scaled, false) },
		"two scales in one call":                         func() { h.DynamicCast(byRow, byColumn, x, false) },
		"another shape, with a scale a row":              func() { h.DynamicCast(of(e4m3, turned, []int{cols, 1}, false), none, x, false) },
		"float8 by rows to another float8":               func() { h.Cast(of(e5m2, plain, []int{}, false), none, byRow) },
		"float8 to another float8 by rows":               func() { h.Cast(of(e5m2, plain, []int{rows, 1}, false), none, of(e4m3, plain, []int{}, false)) },
	} {
		if !panics(cast) {
			h.Errorf("%s: taken", name)
		}
	}
}
