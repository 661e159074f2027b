// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"math"

	"octet/tensor"
)

// LayerNorm is y = (x - mean)·rstd·w + b; see device.Kernels.
func (s *Stream) LayerNorm(y, mean, rstd, x, w, b *tensor.Tensor, eps float32) {
	rows, cols := x.Matrix()
	must.LayerNorm(y, mean, rstd, x, w, b)
	s.do(func() {
		vy, vx, vw, vb, m, r := vecOf(y), vecOf(x), vecOf(w), vecOf(b), f32s(mean), f32s(rstd)
		s.pieces(rows, rowsPerPiece(cols), func(lo, hi int) {
			s.dev.table.layerNorm(vy.part(lo*cols, hi*cols), m[lo:hi], r[lo:hi], vx.part(lo*cols, hi*cols), vw, vb, eps)
		})
	})
}

func layerNormGo(y vec, mean, rstd []float32, x, w, b vec, eps float32) {
	d := w.n
	for r := range rstd {
		row := x.part(r*d, (r+1)*d)
		var sum, squares float64
		for i := range d {
			sum += float64(row.at(i))
		}
		mean[r] = float32(sum / float64(d))
		for i := range d {
			v := float64(row.at(i) - mean[r])
			squares += v * v
		}
		rstd[r] = float32(1 / math.Sqrt(squares/float64(d)+float64(eps)))
		for i := range d {
			y.set(r*d+i, (row.at(i)-mean[r])*rstd[r]*w.at(i)+b.at(i))
		}
	}
}

// LayerNormGrad gives the gradients of x and w; see device.Kernels.
func (s *Stream) LayerNormGrad(dx, dw, dy, x, mean, rstd, w, add *tensor.Tensor) {
	rows, cols := x.Matrix()
	must.LayerNormGrad(dx, dw, dy, x, mean, rstd, w, add)
	s.do(func() {
		vdx, vdy, vx, vw, vadd, m, r := vecOf(dx), vecOf(dy), vecOf(x), vecOf(w), vecOf(add), f32s(mean), f32s(rstd)
		s.sumChunks(f32s(dw), rows, func(partial []float32, lo, hi int) {
			a, b := lo*cols, hi*cols
			clear(partial)
			s.dev.table.layerNormGrad(vdx.part(a, b), partial, vdy.part(a, b), vx.part(a, b), m[lo:hi], r[lo:hi], vw, vadd.part(a, b))
		})
	})
}

// layerNormGradGo adds its rows' part of the gradient of w to dw. With
// n = (x - mean)·rstd and g = dy·w: dx = rstd·(g - mean(g) - n·mean(g·n)),
// dw = Σ dy·n.
func layerNormGradGo(dx vec, dw []float32, dy, x vec, mean, rstd []float32, w, add vec) {
	d := w.n
	for r, scale := range rstd {
		o := r * d
		var sum, dot float64
		for i := range d {
			g := float64(dy.at(o+i)) * float64(w.at(i))
			sum += g
			dot += g * float64((x.at(o+i)-mean[r])*scale)
		}
		center, slope := float32(sum/float64(d)), float32(dot/float64(d))
		for i := range d {
			n := (x.at(o+i) - mean[r]) * scale
			dw[i] += dy.at(o+i) * n
			v := scale * (dy.at(o+i)*w.at(i) - center - n*slope)
			if !add.none() {
				v += add.at(o + i)
			}
			dx.set(o+i, v)
		}
	}
}
