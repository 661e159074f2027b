// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"math"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// castStats is what a piece of a cast comes to.
type castStats struct {
	maxima [device.NumCastMaxima]uint32 // bits: their order is that of values, with NaN above all
	sums   [device.NumCastSums]float64
}

// CastStats measures what a cast did to src; see device.Kernels. It is for diagnosis
// and in Go alone.
func (s *Stream) CastStats(maxima, sums *tensor.Tensor, src, q tensor.Operand) {
	must.CastStats(maxima, sums, src, q)
	rows, cols := src.Value()
	s.do(func() {
		c := readCast(src, q)
		each := rowsPerPiece(cols)
		parts := scratchOf[castStats](s, slotPieces, count(rows, each))
		s.workers.run(len(parts), func(i int) { parts[i] = c.measure(i*each, min(rows, (i+1)*each)) })
		most, add := as[uint32](maxima), f32s(sums)
		raise := func(to *uint32, bits uint32) {
			if *to = max(*to, bits); *to > infBits {
				*to = nanBits
			}
		}
		for _, p := range parts {
			raise(&most[device.CastAmax], p.maxima[device.CastAmax])
		}
		for i, f := range []factors{device.CastMaxScale: c.scale, device.CastMaxInv: c.inv} {
			for _, v := range f.p {
				raise(&most[i], math.Float32bits(v))
			}
		}
		for i := range add {
			total := float64(add[i])
			for _, p := range parts {
				total += p.sums[i]
			}
			add[i] = float32(total)
		}
	})
}

// castReader reads a tensor and its cast side by side; it is for work of a stream.
type castReader struct {
	x                vec
	codes            []byte
	cols             int
	row, col         int // from a code to the one below, and to the one beside it
	fold, scale, inv factors
	values           [256]float32 // of the codes
	beyond           float32      // what is larger, times its scale, has no place in the format
}

func readCast(src, q tensor.Operand) *castReader {
	rows, cols := src.Value()
	c := &castReader{x: vecOf(src.Tensor), codes: vecOf(q.Tensor).bytes(), cols: cols, row: cols, col: 1,
		fold: inverses(src), scale: scales(q), inv: inverses(q), values: valuesOf(tensor.Operand{Tensor: q.Tensor}), beyond: beyond(q.Type.Format())}
	if q.Transposed {
		c.row, c.col = 1, rows
	}
	return c
}

// beyond is the largest value that rounds to the format's largest: half a step above.
func beyond(f dtype.Format) float32 {
	return f.Max + (f.Max-f.Decode(f.Encode(f.Max)-1))/2
}

// measure looks at rows lo to hi-1.
func (c *castReader) measure(lo, hi int) (p castStats) {
	for r := lo; r < hi; r++ {
		for i := range c.cols {
			v := c.x.at(r*c.cols+i) * c.fold.at(r, i)
			is := c.values[c.codes[r*c.row+i*c.col]]
			p.maxima[device.CastAmax] = max(p.maxima[device.CastAmax], math.Float32bits(v)&absMask)
			if scaled := v * c.scale.at(r, i); scaled > c.beyond || scaled < -c.beyond {
				p.sums[device.CastSaturated]++
			}
			if is == 0 && v != 0 {
				p.sums[device.CastUnderflowed]++
			}
			off := float64(v) - float64(is*c.inv.at(r, i))
			p.sums[device.CastSignal] += float64(v) * float64(v)
			p.sums[device.CastError] += off * off
		}
	}
	p.sums[device.CastCount] = float64((hi - lo) * c.cols)
	return p
}
