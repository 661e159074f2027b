// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"fmt"

	"octet/tensor"
)

// Embedding is y[t,:] = table[ids[t]-offset,:]; see device.Kernels.
func (s *Stream) Embedding(y, table, ids *tensor.Tensor, offset, vocab int) {
	must.Embedding(y, table, ids, offset, vocab)
	s.Call("embedding", func() error {
		d, to, from, id := table.Dim(1), vecOf(y), vecOf(table), i32s(ids)
		if err := checkIDs(id, vocab); err != nil {
			return err
		}
		s.pieces(len(id), rowsPerPiece(d), func(lo, hi int) {
			for t := lo; t < hi; t++ {
				dst, at := to.part(t*d, (t+1)*d), int(id[t])-offset
				switch {
				case at < 0 || at >= table.Dim(0):
					clear(dst.bytes())
				case to.t == from.t:
					copy(dst.bytes(), from.part(at*d, (at+1)*d).bytes())
				default:
					s.dev.table.convert(dst, from.part(at*d, (at+1)*d))
				}
			}
		})
		return nil
	})
}

// EmbeddingGrad sums dy by id; see device.Kernels.
func (s *Stream) EmbeddingGrad(dtable, dy, ids *tensor.Tensor, offset, vocab int) {
	must.EmbeddingGrad(dtable, dy, ids, offset, vocab)
	s.Call("embedding gradient", func() error {
		d, to, from, id := dtable.Dim(1), vecOf(dtable), vecOf(dy), i32s(ids)
		if err := checkIDs(id, vocab); err != nil {
			return err
		}
		mem := raw(dtable)
		s.pieces(len(mem), 4*pieceLen, func(lo, hi int) { clear(mem[lo:hi]) })
		// Pieces are columns: rows of one id are then summed in order of t.
		s.pieces(d, 128, func(lo, hi int) {
			for t, i := range id {
				if at := int(i) - offset; at >= 0 && at < dtable.Dim(0) {
					row := to.part(at*d+lo, at*d+hi)
					s.dev.table.add(row, row, from.part(t*d+lo, t*d+hi))
				}
			}
		})
		return nil
	})
}

func checkIDs(ids []int32, vocab int) error {
	for t, id := range ids {
		if id < 0 || int(id) >= vocab {
			return fmt.Errorf("id %d at position %d is outside the vocabulary of %d", id, t, vocab)
		}
	}
	return nil
}
