// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"fmt"
	"math"

	"octet/device"
	"octet/dtype"
)

// difference is f'(x).
func difference(f func(x float64) float64) func(x float64) float64 {
	const h = 1e-6
	return func(x float64) float64 { return (f(x+h) - f(x-h)) / (2 * h) }
}

func activationCases() []kernelCase {
	gelu := func(x float64) float64 { return x * math.Erfc(-x/math.Sqrt2) / 2 }
	byTanh := func(x float64) float64 { return x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x))) / 2 }
	step := func(x float64) float64 {
		if x > 0 {
			return 1
		}
		return 0
	}
	var all []kernelCase
	for _, a := range []struct {
		name     string
		function device.Activation
		f, slope func(x float64) float64
	}{
		{"relu", device.ReLU, func(x float64) float64 { return max(x, 0) }, step},
		{"gelu", device.GELU, gelu, difference(gelu)},
		{"gelu by tanh", device.GELUTanh, byTanh, difference(byTanh)},
	} {
		check := func(h *harness, from, to dtype.Type, values []float64) {
			n, name := len(values), fmt.Sprint(from, " to ", to, " ")
			x, dy := h.put(from, values, n), h.normal(to, n)
			wantY, wantX := make([]float64, n), make([]float64, n)
			for i, v := range x.v {
				wantY[i], wantX[i] = a.f(v), dy.v[i]*a.slope(v)
			}
			y, dx := h.out(to, n), h.out(to, n)
			h.Activate(y, x.Tensor, a.function)
			h.want(name+"y", y, wantY, tolerance(to))
			h.ActivateGrad(dx, dy.Tensor, x.Tensor, a.function)
			h.want(name+"dx", dx, wantX, tolerance(to))
			h.ActivateGrad(dy.Tensor, dy.Tensor, x.Tensor, a.function)
			h.want(name+"dx over dy", dy.Tensor, wantX, tolerance(to))
			h.Activate(x.Tensor, x.Tensor, a.function)
			h.want(name+"y over x", x.Tensor, wantY, tolerance(from))
		}
		for _, n := range sizes {
			all = append(all, kernelCase{fmt.Sprintf("%s/%d", a.name, n), func(h *harness) {
				for _, from := range both {
					for _, to := range both {
						check(h, from, to, h.normal(from, n).v)
					}
				}
			}})
		}
		all = append(all, kernelCase{a.name + "/tails", func(h *harness) {
			var left, right []float64 // apart, or the right one's size would hide the left one's errors
			for x := 0.01; x < 8; x += 0.01 {
				left, right = append(left, -x), append(right, x)
			}
			for _, values := range [][]float64{left, right, {-200, -88, -15, -13}, {13, 15, 88, 200}} {
				check(h, dtype.Float32, dtype.Float32, values)
			}
		}})
	}
	return all
}

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

func squaredErrorCases() []kernelCase {
	var all []kernelCase
	for _, n := range sizes {
		all = append(all, kernelCase{fmt.Sprintf("squared error/%d", n), func(h *harness) {
			const scale = 0.25
			for _, ty := range both {
				for _, tt := range both {
					y, target, loss := h.normal(ty, n), h.normal(tt, n), h.one(0.5)
					want, grad := 0.5, make([]float64, n)
					for i, v := range y.v {
						e := v - target.v[i]
						want += scale * e * e
						grad[i] = 2 * scale * e
					}
					h.SquaredError(loss, y.Tensor, target.Tensor, h.one(scale))
					h.want(fmt.Sprint("loss ", ty, ",", tt), loss, []float64{want}, tolerance(dtype.Float32))
					h.want(fmt.Sprint("gradient ", ty, ",", tt), y.Tensor, grad, tolerance(ty))
				}
			}
		}})
	}
	return all
}
