// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"fmt"
	"math"

	"octet/dtype"
	"octet/tensor"
)

// ignored is the target that has no loss.
const ignored = -100

// CrossEntropy adds to loss and turns logits into their gradient; see
// device.Kernels.
func (s *Stream) CrossEntropy(loss, logits, targets *tensor.Tensor, scale float32) {
	rows, vocab := logits.Matrix()
	must(isF32(loss, 1) && isHP(logits) && targets.Type == dtype.Int32 && targets.Numel() == rows,
		"CrossEntropy(loss float32 [1], logits [T,V], targets int32 [T])", loss, logits, targets)
	s.Call("cross-entropy", func() error {
		x, target := vecOf(logits), i32s(targets)
		for t, c := range target {
			if c != ignored && (c < 0 || int(c) >= vocab) {
				return fmt.Errorf("target %d at position %d is outside the vocabulary of %d", c, t, vocab)
			}
		}
		size := rowsPerPiece(vocab)
		n := count(rows, size)
		sums := scratchOf[float64](s, n)
		s.pieces(rows, size, func(lo, hi int) {
			sums[lo/size] = s.dev.table.crossEntropy(x.part(lo*vocab, hi*vocab), target[lo:hi], scale)
		})
		var total float64
		for _, sum := range sums {
			total += sum
		}
		f32s(loss)[0] += float32(total * float64(scale))
		return nil
	})
}

// crossEntropyGo overwrites its rows of logits and returns their unscaled loss.
func crossEntropyGo(logits vec, targets []int32, scale float32) float64 {
	var loss float64
	for t, target := range targets {
		vocab := logits.n / len(targets)
		row := logits.part(t*vocab, (t+1)*vocab)
		if target == ignored {
			clear(row.bytes())
			continue
		}
		top := float32(math.Inf(-1))
		for c := range vocab {
			top = max(top, row.at(c))
		}
		var sum float64
		for c := range vocab {
			sum += math.Exp(float64(row.at(c) - top))
		}
		loss += math.Log(sum) - float64(row.at(int(target))-top)
		for c := range vocab {
			p := float32(math.Exp(float64(row.at(c)-top)) / sum)
			if c == int(target) {
				p--
			}
			row.set(c, scale*p)
		}
	}
	return loss
}
