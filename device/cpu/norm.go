// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"math"

	"octet/tensor"
)

// RMSNorm is y = s·rstd·w, s = x + residual; see device.Kernels.
func (s *Stream) RMSNorm(y, sum, rstd, x, residual, w *tensor.Tensor, eps float32, amax *tensor.Tensor) {
	rows, cols := x.Matrix()
	must.RMSNorm(y, sum, rstd, x, residual, w, amax)
	s.do(func() {
		vy, vsum, vx, vres, vw, r := vecOf(y), vec{}, vecOf(x), vecOf(residual), vecOf(w), f32s(rstd)
		if residual != nil {
			vsum = vecOf(sum)
		}
		size := rowsPerPiece(cols)
		found := s.amaxesOf(amax, slotAmax, count(rows, size))
		s.pieces(rows, size, func(lo, hi int) {
			a, b := lo*cols, hi*cols
			s.dev.table.rmsNorm(vy.part(a, b), vsum.part(a, b), r[lo:hi], vx.part(a, b), vres.part(a, b), vw, eps, found.of(lo/size))
		})
		found.join()
	})
}

func rmsNormGo(y, sum vec, rstd []float32, x, residual, w vec, eps float32, amax *uint32) {
	d := w.n
	for r := range rstd {
		row := x.part(r*d, (r+1)*d)
		if !residual.none() {
			total := sum.part(r*d, (r+1)*d)
			addGo(total, row, residual.part(r*d, (r+1)*d))
			row = total
		}
		mean := sumSquaresGo(row) / float64(d)
		rstd[r] = float32(1 / math.Sqrt(mean+float64(eps)))
		for i := range d {
			y.set(r*d+i, row.at(i)*rstd[r]*w.at(i))
		}
	}
	takeAmaxGo(amax, y)
}

// RMSNormGrad gives the gradients of s and w; see device.Kernels.
func (s *Stream) RMSNormGrad(dx, dw, dy, sum, rstd, w, add, amax *tensor.Tensor) {
	rows, cols := sum.Matrix()
	must.RMSNormGrad(dx, dw, dy, sum, rstd, w, add, amax)
	s.do(func() {
		vdx, vdy, vs, vw, vadd, r := vecOf(dx), vecOf(dy), vecOf(sum), vecOf(w), vecOf(add), f32s(rstd)
		size := chunkOf(rows)
		found := s.amaxesOf(amax, slotAmax, count(rows, size))
		s.sumChunks(f32s(dw), rows, func(partial []float32, lo, hi int) {
			a, b := lo*cols, hi*cols
			clear(partial)
			s.dev.table.rmsNormGrad(vdx.part(a, b), partial, vdy.part(a, b), vs.part(a, b), r[lo:hi], vw, vadd.part(a, b), found.of(lo/size))
		})
		found.join()
	})
}

// rmsNormGradGo adds its rows' part of the gradient of w to dw. With
// n = s·rstd and g = dy·w: dx = rstd·(g - n·mean(g·n)), dw = Σ dy·n.
func rmsNormGradGo(dx vec, dw []float32, dy, s vec, rstd []float32, w, add vec, amax *uint32) {
	d := w.n
	for r, scale := range rstd {
		o := r * d
		var dot float64
		for i := range d {
			dot += float64(dy.at(o+i)) * float64(w.at(i)) * float64(s.at(o+i))
		}
		mean := float32(dot * float64(scale) / float64(d))
		for i := range d {
			n := s.at(o+i) * scale
			dw[i] += dy.at(o+i) * n
			v := scale * (dy.at(o+i)*w.at(i) - n*mean)
			if !add.none() {
				v += add.at(o + i)
			}
			dx.set(o+i, v)
		}
	}
	takeAmaxGo(amax, dx)
}
