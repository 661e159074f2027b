// SPDX-License-Identifier: Apache-2.0

package cuda

import (
	"fmt"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// float64s is scratch for n of them, which no tensor's type names.
func (k *kernels) float64s(in slot, n int) *tensor.Tensor { return k.scratch(in, dtype.Uint8, 8*n) }

// CrossEntropy is both phases of a whole vocabulary; see device.Kernels.
func (k *kernels) CrossEntropy(loss, logits, targets, scale *tensor.Tensor) {
	rows, vocab := checkLoss("CrossEntropy(loss float32 [1] or nil, logits [T,V], targets int32 [T], scale float32 [1])", logits, targets, nil, loss, scale)
	k.checkIDs(checkTargets, targets, vocab, device.Ignored)
	losses := k.float64s(slotRows, rows)
	k.over(k.begin(kCrossEntropy).dst(losses).dst(logits).src(targets).src(scale).u64(rows).u64(vocab), rows)
	k.addLoss(loss, losses, rows, scale)
}

// CrossEntropyStats is the first phase of a slice; see device.Kernels.
func (k *kernels) CrossEntropyStats(most, sum, target, logits, targets *tensor.Tensor, offset, vocab int) {
	rows, width := checkLoss("CrossEntropyStats(max, sum, target float32 [T], logits [T,V], targets int32 [T])", logits, targets, []*tensor.Tensor{most, sum, target})
	if offset < 0 || offset+width > vocab {
		panic(fmt.Sprintf("cuda: a slice of %d from %d is outside the vocabulary of %d", width, offset, vocab))
	}
	k.checkIDs(checkTargets, targets, vocab, device.Ignored)
	l := k.begin(kCrossEntropyStats).dst(most).dst(sum).dst(target).src(logits).src(targets)
	k.over(l.u64(rows).u64(width).u64(offset).u64(vocab), rows)
}

// RescaleSum brings sums of exponentials to another maximum; see device.Kernels.
func (k *kernels) RescaleSum(sum, from, to *tensor.Tensor) {
	n := sum.Numel()
	must(isF32(sum, n) && isF32(from, n) && isF32(to, n), "RescaleSum(sum, from, to float32 [T])", sum, from, to)
	k.each(k.begin(kRescaleSum).dst(sum).src(from).src(to), n, 1)
}

// CrossEntropyGrad is the second phase of a slice; see device.Kernels.
func (k *kernels) CrossEntropyGrad(loss, logits, most, sum, target, targets *tensor.Tensor, offset int, scale *tensor.Tensor) {
	rows, width := checkLoss("CrossEntropyGrad(loss float32 [1] or nil, logits [T,V], max, sum, target float32 [T], targets int32 [T], scale float32 [1])",
		logits, targets, []*tensor.Tensor{most, sum, target}, loss, scale)
	losses := k.float64s(slotRows, rows)
	l := k.begin(kCrossEntropyGrad).dst(losses).dst(logits).src(most).src(sum).src(target).src(targets)
	k.over(l.u64(rows).u64(width).u64(offset).src(scale), rows)
	k.addLoss(loss, losses, rows, scale)
}

// addLoss adds n losses times scale to loss, where there is one.
func (k *kernels) addLoss(loss, losses *tensor.Tensor, n int, scale *tensor.Tensor) {
	if loss != nil {
		k.once(k.begin(kTotal).dst(loss).src(losses).u64(n).src(scale))
	}
}

// checkLoss returns the rows of logits and their width.
func checkLoss(want string, logits, targets *tensor.Tensor, stats []*tensor.Tensor, ones ...*tensor.Tensor) (rows, width int) {
	rows, width = targets.Numel(), logits.Dim(-1)
	ok := isHP(logits) && logits.Numel() == rows*width && targets.Type == dtype.Int32
	for _, t := range stats {
		ok = ok && isF32(t, rows)
	}
	for i, t := range ones {
		ok = ok && (t == nil && i == 0 || isF32(t, 1))
	}
	must(ok, want, append(append([]*tensor.Tensor{logits, targets}, stats...), ones...)...)
	return rows, width
}

// SquaredError adds to the loss and overwrites y with its gradient; see device.Kernels.
func (k *kernels) SquaredError(loss, y, target, scale *tensor.Tensor) {
	must(isHP(y, target) && sameNumel(y, target) && isF32(loss, 1) && isF32(scale, 1),
		"SquaredError(loss float32 [1], y, target of equal numel, high precision, scale float32 [1])", loss, y, target, scale)
	chunks := count(y.Numel(), chunk)
	partial := k.float64s(slotRows, chunks)
	k.over(k.begin(kSquaredError).dst(partial).dst(y).src(target).src(scale), chunks)
	k.addLoss(loss, partial, chunks, scale)
}
