// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"math"

	"octet/device/internal/contract"
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
	must.Amax(dst, ts)
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
	pieces := 0
	for _, t := range ts {
		pieces += count(t.Numel(), pieceLen)
	}
	list := make([]tensorPiece, 0, pieces)
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
	found := scratchOf[uint32](s, slotPieces, len(list))
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

// Scales turns amaxes into scales and reciprocals; see device.Kernels.
func (s *Stream) Scales(scale, inv, amax *tensor.Tensor, formats []dtype.Type, pow2 bool) {
	must.Scales(scale, inv, amax, formats)
	formats = append([]dtype.Type(nil), formats...)
	s.do(func() {
		to, reciprocal := f32s(scale), f32s(inv)
		for i, a := range f32s(amax) {
			to[i] = formats[min(i, len(formats)-1)].Format().Scale(a, pow2)
			reciprocal[i] = 1 / to[i]
		}
	})
}

// Cast is dst = encode(f32(src)·scale), in either layout; see device.Kernels.
func (s *Stream) Cast(dst, dstT, src tensor.Operand) {
	if must.Cast(dst, dstT, src) {
		s.do(func() { s.widen(dst, src) })
		return
	}
	s.do(func() { s.cast(dst, dstT, src) })
}

// castRows is the rows of src a piece of a transposing cast reads: one cache
// line of each row of the result.
const castRows = 64

func (s *Stream) cast(dst, dstT, src tensor.Operand) {
	to, toT, from, by := vecOf(dst.Tensor), vecOf(dstT.Tensor), vecOf(src.Tensor), contract.Made(dst, dstT)
	rows, cols := src.Matrix()
	switch {
	case src.Type.IsFloat8():
		codes := recodeTable(by.Type, scaleOf(by), valuesOf(src))
		s.pieces(rows, castRows, func(lo, hi int) { recode(to, toT, from, rows, cols, lo, hi, &codes) })
	case toT.none() && src.Inv == nil && by.Granularity() == tensor.PerTensor:
		scale := scaleOf(by)
		s.pieces(to.n, pieceLen, func(lo, hi int) { s.dev.table.cast(to.part(lo, hi), from.part(lo, hi), scale) })
	default:
		fold, scale := inverses(src), scales(by)
		s.pieces(rows, castPiece(dstT, cols), func(lo, hi int) {
			s.dev.table.castMatrix(to, toT, from, rows, cols, lo, hi, fold, scale)
		})
	}
}

// castPiece is the rows of a matrix of cols columns that a piece of its cast has.
func castPiece(dstT tensor.Operand, cols int) int {
	if dstT.Tensor != nil {
		return castRows
	}
	return rowsPerPiece(cols)
}

// widen is dst = f32(src)/scale, rounded. Rows and columns of their own scales are
// for emulation and tests: no matmul needs a wide copy.
func (s *Stream) widen(dst, src tensor.Operand) {
	to, from := vecOf(dst.Tensor), vecOf(src.Tensor)
	if src.Granularity() == tensor.PerTensor {
		values := valuesOf(src)
		s.pieces(to.n, pieceLen, func(lo, hi int) { s.dev.table.widen(to.part(lo, hi), from.part(lo, hi), &values) })
		return
	}
	rows, cols := src.Matrix()
	plain, scale, inv := valuesOf(tensor.Operand{Tensor: src.Tensor}), scales(src), inverses(src)
	s.pieces(rows, rowsPerPiece(cols), func(lo, hi int) {
		for i := lo * cols; i < hi*cols; i++ {
			v, r, c := plain[from.bytes()[i]], i/cols, i%cols
			if src.Scale != nil {
				v /= scale.at(r, c)
			} else {
				v *= inv.at(r, c)
			}
			to.set(i, v)
		}
	})
}

// scaleOf reads an operand's scale; it may be called only by work of a stream.
func scaleOf(o tensor.Operand) float32 {
	if o.Scale == nil {
		return 1
	}
	return f32s(o.Scale)[0]
}

// valuesOf is the value of every code of a float8 operand, without its scale;
// it may be called only by work of a stream.
func valuesOf(o tensor.Operand) (values [256]float32) {
	f := o.Type.Format()
	for code := range values {
		values[code] = f.Decode(byte(code))
		if o.Scale != nil {
			values[code] /= f32s(o.Scale)[0]
		} else if o.Inv != nil {
			values[code] *= f32s(o.Inv)[0]
		}
	}
	return values
}

// recodeTable is the code in t of every code of a float8 operand.
func recodeTable(t dtype.Type, scale float32, values [256]float32) (codes [256]byte) {
	for i, v := range values {
		codes[i] = t.Format().Encode(v * scale)
	}
	return codes
}

// recode casts rows lo to hi-1 of src [rows,cols], in another float8, into
// those of dst and columns of dstT [cols,rows], either of which may be none.
func recode(dst, dstT, src vec, rows, cols, lo, hi int, codes *[256]byte) {
	from := src.bytes()[lo*cols : hi*cols]
	if !dst.none() {
		to := dst.bytes()[lo*cols : hi*cols]
		for i, code := range from {
			to[i] = codes[code]
		}
	}
	if dstT.none() {
		return
	}
	to := dstT.bytes()
	for c := range cols {
		for r := range hi - lo {
			to[c*rows+lo+r] = codes[from[r*cols+c]]
		}
	}
}

func castGo(dst, src vec, scale float32) {
	f := dst.t.Format()
	to := dst.bytes()
	for i := range to {
		to[i] = f.Encode(src.at(i) * scale)
	}
}

// castMatrixGo casts rows lo to hi-1 of src·fold [rows,cols] into those of dst and
// into columns of dstT [cols,rows], either of which may be none.
func castMatrixGo(dst, dstT, src vec, rows, cols, lo, hi int, fold, scale factors) {
	for r := lo; r < hi; r++ {
		for c := range cols {
			v := src.at(r*cols+c) * fold.at(r, c) * scale.at(r, c)
			if !dst.none() {
				dst.bytes()[r*cols+c] = dst.t.Format().Encode(v)
			}
			if !dstT.none() {
				dstT.bytes()[c*rows+r] = dstT.t.Format().Encode(v)
			}
		}
	}
}

func widenGo(dst, src vec, values *[256]float32) {
	for i, code := range src.bytes() {
		dst.set(i, values[code])
	}
}

// Transpose is dst = srcᵀ; see device.Kernels.
func (s *Stream) Transpose(dst, src *tensor.Tensor) {
	rows, cols := src.Matrix()
	must.Transpose(dst, src)
	s.do(func() {
		to, from := vecOf(dst), vecOf(src)
		s.pieces(rows, castRows, func(lo, hi int) { s.dev.table.transpose(to, from, rows, cols, lo, hi) })
	})
}

// transposeGo moves rows lo to hi-1 of src [rows,cols] to columns of dst.
func transposeGo(dst, src vec, rows, cols, lo, hi int) {
	size := src.t.Size()
	to, from := dst.bytes(), src.bytes()
	for c := range cols {
		for r := lo; r < hi; r++ {
			copy(to[(c*rows+r)*size:][:size], from[(r*cols+c)*size:])
		}
	}
}
