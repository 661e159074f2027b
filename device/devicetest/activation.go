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
