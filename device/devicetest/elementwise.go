// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"fmt"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// sizes are the edges of vectors and pieces.
var sizes = []int{0, 1, 7, 16, 33, 1000, 40001}

func elementwiseCases() []kernelCase {
	var all []kernelCase
	for _, n := range sizes {
		all = append(all, kernelCase{fmt.Sprintf("zero/%d", n), func(h *harness) {
			for _, ty := range both {
				y := h.out(ty, n)
				h.Zero(y)
				h.want(ty.String(), y, make([]float64, n), 0)
			}
		}}, kernelCase{fmt.Sprintf("copy/%d", n), func(h *harness) {
			for _, from := range both {
				for _, to := range both {
					x, y := h.normal(from, n), h.out(to, n)
					h.Copy(y, x.Tensor)
					h.want(fmt.Sprint(from, " to ", to), y, round(to, x.v), 0)
				}
			}
			ids, same := h.ints(100, n), h.out(dtype.Int32, n)
			h.Copy(same, ids.Tensor)
			h.want("int32", same, ids.v, 0)
		}}, kernelCase{fmt.Sprintf("add/%d", n), runAdd(n)}, kernelCase{fmt.Sprintf("sum by the host/%d", n), runHostSum(n)})
	}
	for _, shape := range [][2]int{{0, 5}, {1, 1}, {3, 33}, {100, 7}, {200, 512}} {
		all = append(all, kernelCase{fmt.Sprintf("bias/%dx%d", shape[0], shape[1]), runBias(shape[0], shape[1])})
	}
	return all
}

func runAdd(n int) func(h *harness) {
	return func(h *harness) {
		for _, ta := range both {
			for _, tb := range both {
				a, b := h.normal(ta, n), h.normal(tb, n)
				sum := make([]float64, n)
				for i := range sum {
					sum[i] = a.v[i] + b.v[i]
				}
				for _, to := range both {
					y := h.out(to, n)
					h.Add(y, a.Tensor, b.Tensor)
					h.want(fmt.Sprint(ta, " + ", tb, " = ", to), y, sum, tolerance(to))
				}
				h.Add(b.Tensor, a.Tensor, b.Tensor)
				h.want(fmt.Sprint("b = ", ta, " + ", tb), b.Tensor, sum, tolerance(tb))
				b = h.put(tb, b.v, n)
				h.Add(a.Tensor, a.Tensor, b.Tensor)
				h.want(fmt.Sprint("a = ", ta, " + ", tb), a.Tensor, sum, tolerance(ta))
			}
		}
	}
}

// runHostSum has sums with every bit: in float32, in the order given, rounded once.
func runHostSum(n int) func(h *harness) {
	return func(h *harness) {
		s, ok := h.Stream.(device.HostStream)
		if !ok {
			return
		}
		for _, ty := range both {
			for _, terms := range []int{2, 3, 5} {
				for into := range terms + 1 { // a term, or memory of its own
					all := make([]*tensor.Tensor, terms, terms+1)
					sum := make([]float64, n)
					for k := range all {
						x := h.normal(ty, n)
						all[k] = x.Tensor
						for i, v := range x.v {
							sum[i] = float64(float32(sum[i]) + float32(v))
						}
					}
					dst := append(all, h.out(ty, n))[into]
					s.Call("sum", func() error {
						src := make([][]byte, terms)
						for k, x := range all {
							src[k] = s.Bytes(x)
						}
						s.Sum(s.Bytes(dst), src, ty)
						return nil
					})
					h.want(fmt.Sprint(terms, " of ", ty, " into ", into), dst, round(ty, sum), 0)
				}
			}
		}
	}
}

func runBias(rows, cols int) func(h *harness) {
	return func(h *harness) {
		for _, ty := range both {
			y, bias := h.normal(ty, rows, cols), h.normal(ty, cols)
			db, biased, total := h.out(dtype.Float32, cols), make([]float64, rows*cols), make([]float64, cols)
			for i, v := range y.v {
				biased[i] = v + bias.v[i%cols]
				total[i%cols] += v
			}
			h.BiasGrad(db, y.Tensor)
			h.want(fmt.Sprint("db ", ty), db, total, tolerance(dtype.Float32))
			h.AddBias(y.Tensor, bias.Tensor)
			h.want(fmt.Sprint("y ", ty), y.Tensor, biased, tolerance(ty))
		}
	}
}
