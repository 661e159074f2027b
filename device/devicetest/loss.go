// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"fmt"
	"math"
	"slices"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// crossEntropy is Σ -log softmax(x[t])[target[t]].
func crossEntropy(x, targets []float64, vocab int) float64 {
	var loss float64
	for t, target := range targets {
		if target == device.Ignored {
			continue
		}
		row := x[t*vocab : (t+1)*vocab]
		top, sum := row[0], 0.0
		for _, v := range row {
			top = max(top, v)
		}
		for _, v := range row {
			sum += math.Exp(v - top)
		}
		loss += math.Log(sum) + top - row[int(target)]
	}
	return loss
}

// crossEntropyGrad is softmax(x[t]) - onehot(target[t]).
func crossEntropyGrad(x, targets []float64, vocab int) []float64 {
	grad := make([]float64, len(x))
	for t, target := range targets {
		if target == device.Ignored {
			continue
		}
		row := x[t*vocab : (t+1)*vocab]
		top, sum := slices.Max(row), 0.0
		for _, v := range row {
			sum += math.Exp(v - top)
		}
		for c, v := range row {
			grad[t*vocab+c] = math.Exp(v-top) / sum
		}
		grad[t*vocab+int(target)]--
	}
	return grad
}

// one is a float32 [1].
func (h *harness) one(v float64) *tensor.Tensor { return h.put(dtype.Float32, []float64{v}, 1).Tensor }

func lossCases() []kernelCase {
	var all []kernelCase
	for _, s := range [][2]int{{0, 4}, {1, 1}, {5, 7}, {20, 33}, {3, 300}} {
		rows, vocab := s[0], s[1]
		all = append(all, kernelCase{fmt.Sprintf("cross-entropy/%dx%d", rows, vocab), func(h *harness) {
			const scale = 0.25
			for _, ty := range both {
				x, targets := h.normal(ty, rows, vocab), h.ints(vocab, rows)
				if rows > 4 {
					targets.v[3] = device.Ignored
					targets = h.put(dtype.Int32, targets.v, rows)
				}
				again := h.put(ty, x.v, rows, vocab)
				loss := h.one(0.5)
				want := 0.5 + scale*crossEntropy(x.v, targets.v, vocab)
				grad := numericGrad(x.v, func() float64 { return scale * crossEntropy(x.v, targets.v, vocab) })
				h.CrossEntropy(loss, x.Tensor, targets.Tensor, h.one(scale))
				h.want(fmt.Sprint("loss ", ty), loss, []float64{want}, tolerance(dtype.Float32))
				h.want(fmt.Sprint("gradient ", ty), x.Tensor, grad, tolerance(ty))
				h.CrossEntropy(nil, again.Tensor, targets.Tensor, h.one(scale))
				h.want(fmt.Sprint("gradient without loss ", ty), again.Tensor, grad, tolerance(ty))
			}
		}})
	}
	return append(all, kernelCase{"cross-entropy/large logits", func(h *harness) {
		x := h.put(dtype.Float32, []float64{1000, 0, -1000, 500, 500, 500}, 2, 3)
		targets, loss := h.put(dtype.Int32, []float64{0, 2}, 2), h.one(0)
		h.CrossEntropy(loss, x.Tensor, targets.Tensor, h.one(1))
		h.want("loss", loss, []float64{math.Log(3)}, tolerance(dtype.Float32))
		h.want("gradient", x.Tensor, []float64{0, 0, 0, 1. / 3, 1. / 3, -2. / 3}, tolerance(dtype.Float32))
	}}, kernelCase{"reciprocal", func(h *harness) {
		for _, n := range []float64{1, 3, 10, 2047, 1<<24 + 1, math.MaxInt32, 0} {
			dst := h.out(dtype.Float32, 1)
			h.Reciprocal(dst, h.put(dtype.Int32, []float64{n}, 1).Tensor)
			h.want(fmt.Sprint("1/", n), dst, round(dtype.Float32, []float64{1 / n}), 0)
		}
	}}, slicesCase())
}

// slicesCase spreads a vocabulary over ranks, one of which has none of it, as
// the contract of CrossEntropyStats says, and compares with the whole.
func slicesCase() kernelCase {
	const rows, vocab, scale = 9, 61, 0.25
	bounds := []int{0, 17, 40, 40, vocab}
	inf := math.Inf(1)
	return kernelCase{"cross-entropy/slices of the vocabulary", func(h *harness) {
		for _, ty := range both {
			x := h.normal(ty, rows, vocab)
			for c := range vocab {
				x.v[2*vocab+c] *= 1000 // the winner takes all
				x.v[3*vocab+c] = -3e4 + x.v[3*vocab+c]
				if c < 40 {
					x.v[4*vocab+c] = -inf // two slices of nothing
				} else {
					x.v[5*vocab+c] = -inf
				}
				x.v[6*vocab+c] = 88 * float64(c%2) // alike in all slices
			}
			x = h.put(ty, x.v, rows, vocab)
			// Targets in every slice and at their ends.
			targets := h.put(dtype.Int32, []float64{0, 16, 17, 39, 40, 5, 60, device.Ignored, 41}, rows)
			whole, loss := h.put(ty, x.v, rows, vocab), h.one(0)
			h.CrossEntropy(loss, whole.Tensor, targets.Tensor, h.one(scale))
			want := []float64{scale * crossEntropy(x.v, targets.v, vocab)}
			grad := crossEntropyGrad(x.v, targets.v, vocab)
			for i := range grad {
				grad[i] *= scale
			}
			h.want(fmt.Sprint("loss of the whole ", ty), loss, want, 1e-6)
			h.want(fmt.Sprint("gradient of the whole ", ty), whole.Tensor, grad, tolerance(ty))

			all := vocabSlices(h, ty, x.v, targets, bounds)
			mergeSlices(h, all)
			loss = h.one(0)
			for r, s := range all {
				counts := loss
				if r > 0 {
					counts = nil
				}
				h.CrossEntropyGrad(counts, s.logits, s.max, s.sum, s.target, targets.Tensor, bounds[r], h.one(scale))
				h.want(fmt.Sprintf("gradient of slice %d %v", r, ty), s.logits, columns(grad, vocab, bounds[r], bounds[r+1]), tolerance(ty))
			}
			h.want(fmt.Sprint("loss of the slices ", ty), loss, want, 1e-6)
		}
	}}
}

// vocabSlice is a rank's columns of the logits and their statistics.
type vocabSlice struct{ logits, max, sum, target *tensor.Tensor }

// vocabSlices cuts x at bounds, whose last is the vocabulary, and takes the
// statistics.
func vocabSlices(h *harness, ty dtype.Type, x []float64, targets input, bounds []int) []vocabSlice {
	rows, vocab := targets.Numel(), bounds[len(bounds)-1]
	all := make([]vocabSlice, len(bounds)-1)
	for r := range all {
		lo, hi := bounds[r], bounds[r+1]
		all[r] = vocabSlice{h.put(ty, columns(x, vocab, lo, hi), rows, hi-lo).Tensor, h.out(dtype.Float32, rows), h.out(dtype.Float32, rows), h.out(dtype.Float32, rows)}
		h.CrossEntropyStats(all[r].max, all[r].sum, all[r].target, all[r].logits, targets.Tensor, lo, vocab)
	}
	return all
}

// mergeSlices does what the all-reduces of ranks would.
func mergeSlices(h *harness, all []vocabSlice) {
	whole := h.values(all[0].max)
	for _, s := range all {
		for t, m := range h.values(s.max) {
			whole[t] = max(whole[t], m)
		}
	}
	most := h.put(dtype.Float32, whole, len(whole)).Tensor
	for _, s := range all {
		h.RescaleSum(s.sum, s.max, most)
	}
	for r := range all {
		if r > 0 {
			h.Add(all[0].sum, all[0].sum, all[r].sum)
			h.Add(all[0].target, all[0].target, all[r].target)
		}
		all[r].max, all[r].sum, all[r].target = most, all[0].sum, all[0].target
	}
}

// columns are columns lo to hi-1 of a matrix.
func columns(x []float64, cols, lo, hi int) []float64 {
	var part []float64
	for r := range len(x) / cols {
		part = append(part, x[r*cols+lo:r*cols+hi]...)
	}
	return part
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
