// SPDX-License-Identifier: Apache-2.0

package cuda

import (
	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// float64s is scratch for n of them, which no tensor's type names.
func (k *kernels) float64s(in slot, n int) *tensor.Tensor { return k.scratch(in, dtype.Uint8, 8*n) }

// CrossEntropy is both phases of a whole vocabulary; see device.Kernels.
func (k *kernels) CrossEntropy(loss, logits, targets, scale *tensor.Tensor) {
	rows, vocab := must.CrossEntropy(loss, logits, targets, scale)
	k.checkIDs(checkTargets, targets, vocab, device.Ignored)
	losses := k.float64s(slotRows, rows)
	k.over(k.begin(kCrossEntropy).dst(losses).dst(logits).src(targets).src(scale).u64(rows).u64(vocab), rows)
	k.addLoss(loss, losses, rows, scale)
}

// CrossEntropyStats is the first phase of a slice; see device.Kernels.
func (k *kernels) CrossEntropyStats(most, sum, target, logits, targets *tensor.Tensor, offset, vocab int) {
	rows, width := must.CrossEntropyStats(most, sum, target, logits, targets, offset, vocab)
	k.checkIDs(checkTargets, targets, vocab, device.Ignored)
	l := k.begin(kCrossEntropyStats).dst(most).dst(sum).dst(target).src(logits).src(targets)
	k.over(l.u64(rows).u64(width).u64(offset).u64(vocab), rows)
}

// RescaleSum brings sums of exponentials to another maximum; see device.Kernels.
func (k *kernels) RescaleSum(sum, from, to *tensor.Tensor) {
	n := sum.Numel()
	must.RescaleSum(sum, from, to)
	k.each(k.begin(kRescaleSum).dst(sum).src(from).src(to), n, 1)
}

// CrossEntropyGrad is the second phase of a slice; see device.Kernels.
func (k *kernels) CrossEntropyGrad(loss, logits, most, sum, target, targets *tensor.Tensor, offset int, scale *tensor.Tensor) {
	rows, width := must.CrossEntropyGrad(loss, logits, most, sum, target, targets, scale)
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

// SquaredError adds to the loss and overwrites y with its gradient; see device.Kernels.
func (k *kernels) SquaredError(loss, y, target, scale *tensor.Tensor) {
	must.SquaredError(loss, y, target, scale)
	chunks := count(y.Numel(), chunk)
	partial := k.float64s(slotRows, chunks)
	k.over(k.begin(kSquaredError).dst(partial).dst(y).src(target).src(scale), chunks)
	k.addLoss(loss, partial, chunks, scale)
}
