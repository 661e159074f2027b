// SPDX-License-Identifier: Apache-2.0

package cpu

import "octet/tensor"

// SquaredError adds to the loss and overwrites y with its gradient; see
// device.Kernels.
func (s *Stream) SquaredError(loss, y, target, scale *tensor.Tensor) {
	must.SquaredError(loss, y, target, scale)
	s.do(func() {
		vy, vt, by := vecOf(y), vecOf(target), f32s(scale)[0]
		sums := scratchOf[float64](s, slotPieces, count(vy.n, pieceLen))
		s.pieces(vy.n, pieceLen, func(lo, hi int) {
			sums[lo/pieceLen] = s.dev.table.squaredError(vy.part(lo, hi), vt.part(lo, hi), by)
		})
		var total float64
		for _, sum := range sums {
			total += sum
		}
		f32s(loss)[0] += float32(total * float64(by))
	})
}

// squaredErrorGo is Σ (y - target)², and y becomes its gradient times scale.
func squaredErrorGo(y, target vec, scale float32) float64 {
	var sum float64
	for i := range y.n {
		e := y.at(i) - target.at(i)
		sum += float64(e) * float64(e)
		y.set(i, 2*scale*e)
	}
	return sum
}
