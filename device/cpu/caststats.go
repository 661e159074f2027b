// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"math"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// castStats is what a piece of a cast adds up to.
type castStats struct {
	maxima [device.NumCastMaxima]uint32 // bits: their order is that of values, with NaN above all
	sums   [device.NumCastSums]float64
}

// CastStats measures what a cast did to src; see device.Kernels. It is for diagnosis
// and in Go alone.
func (s *Stream) CastStats(maxima, sums *tensor.Tensor, src, q tensor.Operand) {
	ok := isF32(maxima, device.NumCastMaxima) && isF32(sums, device.NumCastSums) && src.Tensor != nil && q.Tensor != nil &&
		isHP(src.Tensor) && !src.Transposed && q.Type.IsFloat8()
	if ok {
		rows, cols := src.Value()
		r, c := q.Value()
		ok = r == rows && c == cols
	}
	must(ok, "CastStats(maxima float32 [3], sums float32 [5], src [R,C] of high precision, q its cast)", maxima, sums, src.Tensor, q.Tensor)
	by, from := scalesOf(q), scalesOf(src)
	rows, cols := src.Value()
	s.do(func() {
		c := newCastReader(vecOf(src.Tensor), from, q, by, rows, cols)
		each := rowsPerPiece(cols)
		parts := scratchOf[castStats](s, slotPieces, count(rows, each))
		s.workers.run(len(parts), func(i int) { parts[i] = c.measure(i*each, min(rows, (i+1)*each)) })
		most, add := as[uint32](maxima), f32s(sums)
		for _, p := range parts {
			for i, m := range p.maxima {
				most[i] = max(most[i], m)
			}
		}
		for i := range add {
			total := float64(add[i])
			for _, p := range parts {
				total += p.sums[i]
			}
			add[i] = float32(total)
		}
		for i, m := range by.extremes() {
			most[device.CastMaxScale+i] = max(most[device.CastMaxScale+i], m)
		}
		for i, m := range most {
			if m > infBits {
				most[i] = nanBits
			}
		}
	})
}

// scales are those of an operand [R,C], one a row, one a column or one for all.
type scales struct {
	scale, inv *tensor.Tensor
	rows, cols bool // one each
}

func scalesOf(o tensor.Operand) scales {
	g := o.Granularity()
	return scales{o.Scale, o.Inv, g == tensor.PerRow, g == tensor.PerColumn}
}

// at is the factor of the cast of element [r,c], and its reciprocal; it may be called
// only by work of a stream.
func (k scales) at(r, c int) (scale, inv float32) {
	i := 0
	switch {
	case k.rows:
		i = r
	case k.cols:
		i = c
	}
	switch {
	case k.scale == nil && k.inv == nil:
		return 1, 1
	case k.scale == nil:
		return 1 / f32s(k.inv)[i], f32s(k.inv)[i]
	case k.inv == nil:
		return f32s(k.scale)[i], 1 / f32s(k.scale)[i]
	}
	return f32s(k.scale)[i], f32s(k.inv)[i]
}

// extremes are the bits of the largest scale and of the largest reciprocal.
func (k scales) extremes() (bits [2]uint32) {
	n := 1
	switch {
	case k.scale != nil:
		n = k.scale.Numel()
	case k.inv != nil:
		n = k.inv.Numel()
	}
	one := scales{k.scale, k.inv, true, false}
	for i := range n {
		scale, inv := one.at(i, 0)
		bits[0] = max(bits[0], math.Float32bits(scale)&absMask)
		bits[1] = max(bits[1], math.Float32bits(inv)&absMask)
	}
	return bits
}

// castReader reads a tensor and its cast side by side.
type castReader struct {
	x          vec
	codes      []byte
	from, by   scales
	rowStride  int // of codes
	colStride  int
	cols       int
	values     [256]float32 // of the codes
	beyond     float32      // what is larger, times its scale, has no place in the format
	fromScaled bool
}

func newCastReader(x vec, from scales, q tensor.Operand, by scales, rows, cols int) *castReader {
	c := &castReader{x: x, codes: vecOf(q.Tensor).bytes(), from: from, by: by, rowStride: cols, colStride: 1, cols: cols,
		beyond: beyond(q.Type.Format()), fromScaled: from.scale != nil || from.inv != nil}
	if q.Transposed {
		c.rowStride, c.colStride = 1, rows
	}
	for code := range c.values {
		c.values[code] = q.Type.Format().Decode(byte(code))
	}
	return c
}

// beyond is the largest value that rounds to the format's largest: half a step above.
func beyond(f dtype.Format) float32 {
	top := f.Encode(f.Max)
	return f.Max + (f.Max-f.Decode(top-1))/2
}

// measure looks at rows lo to hi-1.
func (c *castReader) measure(lo, hi int) (p castStats) {
	for r := lo; r < hi; r++ {
		scale, inv := c.by.at(r, 0)
		for i := range c.cols {
			if c.by.cols {
				scale, inv = c.by.at(r, i)
			}
			v := c.x.at(r*c.cols + i)
			if c.fromScaled {
				if by, reciprocal := c.from.at(r, i); c.from.scale != nil {
					v /= by
				} else {
					v *= reciprocal
				}
			}
			p.maxima[device.CastAmax] = max(p.maxima[device.CastAmax], math.Float32bits(v)&absMask)
			code := c.codes[r*c.rowStride+i*c.colStride]
			is := c.values[code]
			if scaled := v * scale; scaled > c.beyond || scaled < -c.beyond {
				p.sums[device.CastSaturated]++
			}
			if is == 0 && v != 0 {
				p.sums[device.CastUnderflowed]++
			}
			off := float64(v) - float64(is*inv)
			p.sums[device.CastSignal] += float64(v) * float64(v)
			p.sums[device.CastError] += off * off
		}
	}
	p.sums[device.CastCount] = float64((hi - lo) * c.cols)
	return p
}
