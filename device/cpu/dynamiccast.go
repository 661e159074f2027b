// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"math"

	"octet/device/internal/contract"
	"octet/tensor"
)

// factors are what a matrix is multiplied by: element (r,c) by p[r·row + c·col],
// where row and col are 0 or 1: one for all, one a row, or one a column. None is 1.
type factors struct {
	p        []float32
	row, col int
}

// scales and inverses are an operand's own; they may be read only by work of a
// stream.
func scales(o tensor.Operand) factors   { return factorsOf(o.Scale, o.Granularity()) }
func inverses(o tensor.Operand) factors { return factorsOf(o.Inv, o.Granularity()) }

func factorsOf(t *tensor.Tensor, g tensor.Granularity) (f factors) {
	if t == nil {
		return f
	}
	f.p = f32s(t)
	switch g {
	case tensor.PerRow:
		f.row = 1
	case tensor.PerColumn:
		f.col = 1
	}
	return f
}

func (f factors) at(r, c int) float32 {
	if f.p == nil {
		return 1
	}
	return f.p[r*f.row+c*f.col]
}

// rows are the factors of rows lo to hi-1.
func (f factors) rows(lo, hi int) factors {
	if f.row == 1 {
		f.p = f.p[lo:hi]
	}
	return f
}

// DynamicCast scales src by its own amaxes and casts it; see device.Kernels.
func (s *Stream) DynamicCast(dst, dstT, src tensor.Operand, pow2 bool) {
	must.DynamicCast(dst, dstT, src)
	to := contract.Made(dst, dstT)
	known := contract.Known(to, src)
	s.do(func() {
		// The amaxes stand where the scales will.
		switch g := to.Granularity(); {
		case g == tensor.PerRow:
			s.castByRows(dst, dstT, src, pow2)
			return
		case g == tensor.PerColumn:
			s.amaxColumns(as[uint32](to.Scale), src)
		case src.Inv != nil:
			s.amaxFolded(as[uint32](to.Scale), src)
		case known != nil:
			as[uint32](to.Scale)[0] = as[uint32](known)[0]
		default:
			s.amax(as[uint32](to.Scale), piecesOf([]*tensor.Tensor{src.Tensor}))
		}
		scaleBy(to, 0, to.Scale.Numel(), pow2)
		s.cast(dst, dstT, src)
	})
}

// scaleBy turns amaxes lo to hi-1, the bits in o.Scale, into scales and reciprocals.
func scaleBy(o tensor.Operand, lo, hi int, pow2 bool) {
	f, scale, inv := o.Type.Format(), f32s(o.Scale)[lo:hi], f32s(o.Inv)[lo:hi]
	for i, amax := range as[uint32](o.Scale)[lo:hi] {
		if amax > infBits {
			amax = nanBits
		}
		scale[i] = f.Scale(math.Float32frombits(amax), pow2)
		inv[i] = 1 / scale[i]
	}
}

// castByRows goes over memory once: what a piece has found the amaxes of is
// still close when it is cast.
func (s *Stream) castByRows(dst, dstT, src tensor.Operand, pow2 bool) {
	to, toT, from, by := vecOf(dst.Tensor), vecOf(dstT.Tensor), vecOf(src.Tensor), contract.Made(dst, dstT)
	rows, cols := src.Matrix()
	amax, fold, scale := as[uint32](by.Scale), inverses(src), scales(by)
	s.pieces(rows, castPiece(dstT, cols), func(lo, hi int) {
		s.dev.table.amaxRows(amax[lo:hi], from.part(lo*cols, hi*cols), fold.rows(lo, hi))
		scaleBy(by, lo, hi, pow2)
		s.dev.table.castMatrix(to, toT, from, rows, cols, lo, hi, fold, scale)
	})
}

// amaxFolded is the amax of the whole of src times its reciprocals.
func (s *Stream) amaxFolded(dst []uint32, src tensor.Operand) {
	rows, cols := src.Matrix()
	from, fold, each := vecOf(src.Tensor), inverses(src), scratchOf[uint32](s, slotPieces, rows)
	s.pieces(rows, rowsPerPiece(cols), func(lo, hi int) {
		s.dev.table.amaxRows(each[lo:hi], from.part(lo*cols, hi*cols), fold.rows(lo, hi))
	})
	dst[0] = 0
	for _, a := range each {
		dst[0] = max(dst[0], a)
	}
}

// amaxColumns finds those of fixed chunks of the rows, and then of all.
func (s *Stream) amaxColumns(dst []uint32, src tensor.Operand) {
	rows, cols := src.Matrix()
	size := max(16, count(rows, maxChunks))
	n := count(rows, size)
	from, fold, found := vecOf(src.Tensor), inverses(src), scratchOf[uint32](s, slotPieces, n*cols)
	s.pieces(rows, size, func(lo, hi int) {
		chunk := found[lo/size*cols:][:cols]
		clear(chunk)
		s.dev.table.amaxColumns(chunk, from.part(lo*cols, hi*cols), fold.rows(lo, hi))
	})
	clear(dst)
	for i := range n {
		for c, a := range found[i*cols:][:cols] {
			dst[c] = max(dst[c], a)
		}
	}
}

// amaxRowsGo is the bits of the largest |x·fold| of each row.
func amaxRowsGo(dst []uint32, x vec, fold factors) {
	cols := x.n / max(1, len(dst))
	for r := range dst {
		dst[r] = 0
		for c := range cols {
			dst[r] = max(dst[r], math.Float32bits(x.at(r*cols+c)*fold.at(r, c))&absMask)
		}
	}
}

// amaxColumnsGo raises each number of dst to the bits of the largest |x·fold| of
// its column.
func amaxColumnsGo(dst []uint32, x vec, fold factors) {
	for i := range x.n {
		r, c := i/len(dst), i%len(dst)
		dst[c] = max(dst[c], math.Float32bits(x.at(i)*fold.at(r, c))&absMask)
	}
}
