// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"math"
	"slices"

	"octet/device"
	"octet/device/internal/contract"
	"octet/tensor"
)

// RecordCast casts src by a given scale and records its amax; see device.Kernels.
func (s *Stream) RecordCast(dst, dstT, src, given tensor.Operand, record *tensor.Tensor) {
	must.RecordCast(dst, dstT, src, given, record)
	to := contract.Made(dst, dstT)
	s.do(func() {
		f32s(to.Scale)[0], f32s(to.Inv)[0] = f32s(given.Scale)[0], f32s(given.Inv)[0]
		if record == nil {
			s.cast(dst, dstT, src)
			return
		}
		amax := s.castWithAmax(dst, dstT, src)
		seen := as[uint32](record)
		if int32(seen[0]) < int32(amax) {
			seen[0] = amax
		}
	})
}

// castWithAmax casts piece by piece and takes the amax of each while it is in the
// cache. Its bits are those of amax.
func (s *Stream) castWithAmax(dst, dstT, src tensor.Operand) uint32 {
	to, toT, from, by := vecOf(dst.Tensor), vecOf(dstT.Tensor), vecOf(src.Tensor), contract.Made(dst, dstT)
	table, scale := s.dev.table, scaleOf(by)
	rows, cols := src.Matrix()
	n, size := from.n, pieceLen
	piece := func(lo, hi int) vec {
		x := from.part(lo, hi)
		table.cast(to.part(lo, hi), x, scale)
		return x
	}
	if !toT.none() {
		n, size = rows, castRows
		piece = func(lo, hi int) vec {
			table.castMatrix(to, toT, from, rows, cols, lo, hi, inverses(src), scales(by))
			return from.part(lo*cols, hi*cols)
		}
	}
	found := scratchOf[uint32](s, slotPieces, count(n, size))[:count(n, size)]
	s.pieces(n, size, func(lo, hi int) { found[lo/size] = table.amax(piece(lo, hi)) })
	return joined(found)
}

// SyncHistories moves records to histories; see device.Kernels.
func (s *Stream) SyncHistories(h device.AmaxHistories) {
	must.SyncHistories(h)
	length := h.History.Shape[1]
	h.Formats = slices.Clone(h.Formats)
	s.do(func() {
		records, all, amax, scale, inv := f32s(h.Record), f32s(h.History), f32s(h.Amax), f32s(h.Scale), f32s(h.Inv)
		for i, a := range records {
			bits := math.Float32bits(a)
			switch {
			case int32(bits) < 0:
			case bits >= infBits:
				i32s(h.NotFinite)[i]++
			default:
				history := all[i*length : (i+1)*length]
				copy(history[1:], history)
				history[0], amax[i] = a, a
				scale[i] = h.Formats[min(i, len(h.Formats)-1)].Format().Scale(slices.Max(history), h.Pow2)
				inv[i] = 1 / scale[i]
			}
			records[i] = device.Unseen
		}
	})
}
