// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"math"

	"octet/dtype"
	"octet/tensor"
)

const (
	absMask = 0x7FFFFFFF
	infBits = 0x7F800000
	nanBits = 0x7FC00000
)

// Amax stores the largest |x| of each tensor; see device.Kernels.
func (s *Stream) Amax(dst *tensor.Tensor, ts []*tensor.Tensor) {
	must(isF32(dst, len(ts)) && isHP(ts...), "Amax(dst float32 [n], n tensors of high precision)", append([]*tensor.Tensor{dst}, ts...)...)
	list := piecesOf(ts)
	s.do(func() {
		s.amax(as[uint32](dst), list)
	})
}

// tensorPiece is a piece of one of several tensors.
type tensorPiece struct {
	of int // which tensor
	x  vec
}

// piecesOf cuts all tensors into pieces, so that one pass over many small
// tensors keeps every thread busy.
func piecesOf(ts []*tensor.Tensor) []tensorPiece {
	var list []tensorPiece
	for i, t := range ts {
		x := vecOf(t)
		for lo := 0; lo < x.n; lo += pieceLen {
			list = append(list, tensorPiece{i, x.part(lo, min(x.n, lo+pieceLen))})
		}
	}
	return list
}

// amax works on the bits of the absolute values: their integer order is the
// numeric order, and NaN is above infinity.
func (s *Stream) amax(dst []uint32, list []tensorPiece) {
	found := scratchOf[uint32](s, len(list))
	s.workers.run(len(list), func(i int) { found[i] = s.dev.table.amax(list[i].x) })
	clear(dst)
	for i, p := range list {
		dst[p.of] = max(dst[p.of], found[i])
	}
	for i, a := range dst {
		if a > infBits {
			dst[i] = nanBits
		}
	}
}

func amaxGo(x vec) uint32 {
	var a uint32
	for i := range x.n {
		a = max(a, math.Float32bits(x.at(i))&absMask)
	}
	return a
}

// Scales turns amaxes into scales; see device.Kernels.
func (s *Stream) Scales(dst, amax *tensor.Tensor, formats []dtype.Type, pow2 bool) {
	must(isF32(dst, amax.Numel()) && isF32(amax, dst.Numel()) && (len(formats) == 1 || len(formats) == dst.Numel()),
		"Scales(dst, amax float32 [n], 1 or n formats)", dst, amax)
	formats = append([]dtype.Type(nil), formats...)
	s.do(func() {
		to := f32s(dst)
		for i, a := range f32s(amax) {
			to[i] = formats[min(i, len(formats)-1)].Format().Scale(a, pow2)
		}
	})
}

// Cast is dst = encode(f32(src)·scale); see device.Kernels.
func (s *Stream) Cast(dst tensor.Operand, src *tensor.Tensor, transpose bool) {
	checkCast(dst, src)
	if transpose {
		rows, cols := src.Matrix()
		r, c := dst.Matrix()
		must(rows == c && cols == r || src.Numel() == 0, "Cast(dst [C,R], src [R,C]) with transpose", dst.Tensor, src)
	}
	s.do(func() { s.cast(dst, src, transpose) })
}

func checkCast(dst tensor.Operand, src *tensor.Tensor) {
	must(isHP(src) && dst.Type.IsFloat8() && sameNumel(dst.Tensor, src) && (dst.Scale == nil || isF32(dst.Scale, 1)),
		"a cast (dst float8, scale float32 [], src high precision of equal numel)", dst.Tensor, dst.Scale, src)
}

// castRows is the rows of src a piece of a transposing cast reads: one cache
// line of each row of dst.
const castRows = 64

func (s *Stream) cast(dst tensor.Operand, src *tensor.Tensor, transpose bool) {
	to, from, scale := vecOf(dst.Tensor), vecOf(src), scaleOf(dst)
	if transpose {
		rows, cols := src.Matrix()
		s.pieces(rows, castRows, func(lo, hi int) { s.dev.table.castT(to, from, rows, cols, lo, hi, scale) })
		return
	}
	s.pieces(to.n, pieceLen, func(lo, hi int) { s.dev.table.cast(to.part(lo, hi), from.part(lo, hi), scale) })
}

// scaleOf reads an operand's scale; it may be called only by work of a stream.
func scaleOf(o tensor.Operand) float32 {
	if o.Scale == nil {
		return 1
	}
	return f32s(o.Scale)[0]
}

func castGo(dst, src vec, scale float32) {
	f := dst.t.Format()
	to := dst.bytes()
	for i := range to {
		to[i] = f.Encode(src.at(i) * scale)
	}
}

// castTGo casts rows lo to hi-1 of src [rows,cols] into dst [cols,rows].
func castTGo(dst, src vec, rows, cols, lo, hi int, scale float32) {
	f := dst.t.Format()
	to := dst.bytes()
	for c := range cols {
		for r := lo; r < hi; r++ {
			to[c*rows+r] = f.Encode(src.at(r*cols+c) * scale)
		}
	}
}

// DynamicCast scales src by its own amax and casts it; see device.Kernels.
func (s *Stream) DynamicCast(dst tensor.Operand, src *tensor.Tensor, pow2 bool) {
	checkCast(dst, src)
	must(dst.Scale != nil, "DynamicCast with a scale to write", dst.Tensor, dst.Scale)
	list := piecesOf([]*tensor.Tensor{src})
	s.do(func() {
		var amax [1]uint32
		s.amax(amax[:], list)
		f32s(dst.Scale)[0] = dst.Type.Format().Scale(math.Float32frombits(amax[0]), pow2)
		s.cast(dst, src, false)
	})
}

// Uncast is dst = f32(src)/scale; see device.Kernels.
func (s *Stream) Uncast(dst *tensor.Tensor, src tensor.Operand) {
	must(isHP(dst) && src.Type.IsFloat8() && sameNumel(dst, src.Tensor) && (src.Scale == nil || isF32(src.Scale, 1)),
		"Uncast(dst high precision, src float8 of equal numel, scale float32 [])", dst, src.Tensor, src.Scale)
	s.do(func() {
		to, from, scale := vecOf(dst), vecOf(src.Tensor), scaleOf(src)
		s.pieces(to.n, pieceLen, func(lo, hi int) { s.dev.table.uncast(to.part(lo, hi), from.part(lo, hi), scale) })
	})
}

// uncastTable is the value of every code, divided by scale.
func uncastTable(t dtype.Type, scale float32) (values [256]float32) {
	f := t.Format()
	for code := range values {
		values[code] = f.Decode(byte(code)) / scale
	}
	return values
}

func uncastGo(dst, src vec, scale float32) {
	values := uncastTable(src.t, scale)
	for i, code := range src.bytes() {
		dst.set(i, values[code])
	}
}
