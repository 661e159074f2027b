// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"fmt"
	"math"

	"octet/dtype"
)

// layerNorm is y, mean and rstd.
func layerNorm(x, w, b []float64, eps float64) (y, mean, rstd []float64) {
	d := len(w)
	y = make([]float64, len(x))
	for r := range len(x) / d {
		row := x[r*d : (r+1)*d]
		var sum, squares float64
		for _, v := range row {
			sum += v
		}
		m := sum / float64(d)
		for _, v := range row {
			squares += (v - m) * (v - m)
		}
		scale := 1 / math.Sqrt(squares/float64(d)+eps)
		for i, v := range row {
			y[r*d+i] = (v-m)*scale*w[i] + b[i]
		}
		mean, rstd = append(mean, m), append(rstd, scale)
	}
	return y, mean, rstd
}

func layerNormCases() []kernelCase {
	const eps = 1e-5
	var all []kernelCase
	for _, s := range [][2]int{{0, 4}, {1, 1}, {3, 7}, {5, 16}, {40, 33}, {70, 256}} {
		rows, d := s[0], s[1]
		all = append(all, kernelCase{fmt.Sprintf("layernorm/%dx%d", rows, d), func(h *harness) {
			for _, tx := range both {
				for _, tw := range both {
					name := fmt.Sprint(tx, ",", tw, " ")
					x, w, b := h.normal(tx, rows, d), h.normal(tw, d), h.normal(tw, d)
					for i := range x.v { // far from 0, where the mean counts
						x.v[i] += 5
					}
					x = h.put(tx, x.v, rows, d)
					y, mean, rstd := h.out(tw, rows, d), h.out(dtype.Float32, rows), h.out(dtype.Float32, rows)
					h.LayerNorm(y, mean, rstd, x.Tensor, w.Tensor, b.Tensor, eps)
					wantY, wantM, wantR := layerNorm(x.v, w.v, b.v, eps)
					h.want(name+"y", y, wantY, tolerance(tw))
					h.want(name+"mean", mean, wantM, tolerance(dtype.Float32))
					h.want(name+"rstd", rstd, wantR, tolerance(dtype.Float32))
				}
			}
		}})
	}
	for _, s := range [][2]int{{0, 4}, {1, 3}, {3, 7}, {20, 17}, {40, 33}} {
		rows, d := s[0], s[1]
		all = append(all, kernelCase{fmt.Sprintf("layernorm gradient/%dx%d", rows, d), func(h *harness) {
			for _, ty := range both {
				for _, tw := range both {
					name := fmt.Sprint(ty, ",", tw, " ")
					x, dy, w, b := h.normal(ty, rows, d), h.normal(tw, rows, d), h.normal(tw, d), h.normal(tw, d)
					add := h.normal(ty, rows, d)
					loss := func() float64 { y, _, _ := layerNorm(x.v, w.v, b.v, eps); return dot(dy.v, y) }
					wantX, wantW := numericGrad(x.v, loss), numericGrad(w.v, loss)
					_, m, r := layerNorm(x.v, w.v, b.v, eps)
					mean, rstd := h.put(dtype.Float32, m, rows), h.put(dtype.Float32, r, rows)
					dx, dw := h.out(ty, rows, d), h.out(dtype.Float32, d)
					h.LayerNormGrad(dx, dw, dy.Tensor, x.Tensor, mean.Tensor, rstd.Tensor, w.Tensor, nil)
					h.want(name+"dx", dx, wantX, tolerance(ty))
					h.want(name+"dw", dw, wantW, tolerance(dtype.Float32))
					sum := make([]float64, rows*d)
					for i := range sum {
						sum[i] = wantX[i] + add.v[i]
					}
					h.LayerNormGrad(add.Tensor, dw, dy.Tensor, x.Tensor, mean.Tensor, rstd.Tensor, w.Tensor, add.Tensor)
					h.want(name+"dx over add", add.Tensor, sum, tolerance(ty))
				}
			}
		}})
	}
	return all
}
