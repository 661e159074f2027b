// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"fmt"
	"math"
	"slices"

	"octet/device"
	"octet/tensor"
)

// lossRow is what the gradient needs to know of a row of logits: the maximum,
// Σ exp(logit - max), and the target's logit. The gradient leaves the loss.
type lossRow struct {
	sum, loss   float64
	max, target float32
}

// CrossEntropy is both phases of a whole vocabulary, row by row: the second
// reads from the cache what the first has read. See device.Kernels.
func (s *Stream) CrossEntropy(loss, logits, targets, scale *tensor.Tensor) {
	rows, vocab := must.CrossEntropy(loss, logits, targets, scale)
	s.Call("cross-entropy", func() error {
		x, target, by := vecOf(logits), i32s(targets), f32s(scale)[0]
		if err := checkTargets(target, vocab); err != nil {
			return err
		}
		all := scratchOf[lossRow](s, slotPieces, rows)
		s.pieces(rows, rowsPerPiece(vocab), func(lo, hi int) {
			s.dev.table.crossEntropy(all[lo:hi], x.part(lo*vocab, hi*vocab), target[lo:hi], by)
		})
		addLoss(loss, all, vocab, by)
		return nil
	})
}

// CrossEntropyStats is the first phase of a slice; see device.Kernels.
func (s *Stream) CrossEntropyStats(most, sum, target, logits, targets *tensor.Tensor, offset, vocab int) {
	rows, width := must.CrossEntropyStats(most, sum, target, logits, targets, offset, vocab)
	s.Call("cross-entropy", func() error {
		x, labels := vecOf(logits), i32s(targets)
		if err := checkTargets(labels, vocab); err != nil {
			return err
		}
		all := scratchOf[lossRow](s, slotPieces, rows)
		s.pieces(rows, rowsPerPiece(width), func(lo, hi int) {
			s.dev.table.lossStats(all[lo:hi], x.part(lo*width, hi*width), labels[lo:hi], offset)
		})
		for t, r := range all {
			f32s(most)[t], f32s(sum)[t], f32s(target)[t] = r.max, float32(r.sum), r.target
		}
		return nil
	})
}

// RescaleSum brings sums of exponentials to another maximum; see
// device.Kernels.
func (s *Stream) RescaleSum(sum, from, to *tensor.Tensor) {
	must.RescaleSum(sum, from, to)
	s.do(func() {
		for t, m := range f32s(to) {
			f32s(sum)[t] *= float32(math.Exp(float64(f32s(from)[t] - m)))
		}
	})
}

// CrossEntropyGrad is the second phase of a slice; see device.Kernels.
func (s *Stream) CrossEntropyGrad(loss, logits, most, sum, target, targets *tensor.Tensor, offset int, scale *tensor.Tensor) {
	rows, width := must.CrossEntropyGrad(loss, logits, most, sum, target, targets, scale)
	s.do(func() {
		x, labels, by := vecOf(logits), i32s(targets), f32s(scale)[0]
		all := scratchOf[lossRow](s, slotPieces, rows)
		for t := range all {
			all[t] = lossRow{max: f32s(most)[t], sum: float64(f32s(sum)[t]), target: f32s(target)[t]}
		}
		s.pieces(rows, rowsPerPiece(width), func(lo, hi int) {
			s.dev.table.lossGrad(all[lo:hi], x.part(lo*width, hi*width), labels[lo:hi], offset, by)
		})
		addLoss(loss, all, width, by)
	})
}

// addLoss adds the rows' losses, those of a piece first, as pieces depend on
// shapes alone.
func addLoss(loss *tensor.Tensor, rows []lossRow, vocab int, scale float32) {
	if loss == nil {
		return
	}
	var total float64
	for piece := range slices.Chunk(rows, rowsPerPiece(vocab)) {
		var sum float64
		for _, r := range piece {
			sum += r.loss
		}
		total += sum
	}
	f32s(loss)[0] += float32(total * float64(scale))
}

func checkTargets(targets []int32, vocab int) error {
	for t, c := range targets {
		if c != device.Ignored && (c < 0 || int(c) >= vocab) {
			return fmt.Errorf("target %d at position %d is outside the vocabulary of %d", c, t, vocab)
		}
	}
	return nil
}

// crossEntropyGo is both phases of its rows of a whole vocabulary.
func crossEntropyGo(rows []lossRow, logits vec, targets []int32, scale float32) {
	lossStatsGo(rows, logits, targets, 0)
	lossGradGo(rows, logits, targets, 0, scale)
}

// lossStatsGo reads its rows of a slice of the vocabulary that starts at
// offset.
func lossStatsGo(rows []lossRow, logits vec, targets []int32, offset int) {
	width := logits.n / len(rows)
	for t, target := range targets {
		rows[t] = lossRow{}
		if target == device.Ignored {
			continue
		}
		row := logits.part(t*width, (t+1)*width)
		top := float32(math.Inf(-1))
		for c := range width {
			top = max(top, row.at(c))
		}
		rows[t].max = top
		if math.IsInf(float64(top), -1) {
			top = 0 // and the sum 0, not NaN
		}
		for c := range width {
			rows[t].sum += math.Exp(float64(row.at(c) - top))
		}
		if at := int(target) - offset; 0 <= at && at < width {
			rows[t].target = row.at(at)
		}
	}
}

// lossGradGo overwrites its rows of logits with their gradient and sets the
// rows' unscaled losses.
func lossGradGo(rows []lossRow, logits vec, targets []int32, offset int, scale float32) {
	width := logits.n / len(rows)
	for t, target := range targets {
		r, row := &rows[t], logits.part(t*width, (t+1)*width)
		if target == device.Ignored {
			clear(row.bytes())
			r.loss = 0
			continue
		}
		r.loss = math.Log(r.sum) - float64(r.target-r.max)
		for c := range width {
			p := float32(math.Exp(float64(row.at(c)-r.max)) / r.sum)
			if c == int(target)-offset {
				p--
			}
			row.set(c, scale*p)
		}
	}
}
