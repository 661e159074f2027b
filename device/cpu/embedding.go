// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"fmt"

	"octet/dtype"
	"octet/tensor"
)

// Embedding is y[t,:] = table[ids[t]-offset,:]; see device.Kernels.
func (s *Stream) Embedding(y, table, ids *tensor.Tensor, offset, vocab int) {
	checkEmbedding("Embedding(y [T,D], table [V,D], ids int32 [T], offset, vocab)", y, table, ids, offset, vocab)
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
	checkEmbedding("EmbeddingGrad(dtable float32 [V,D], dy [T,D], ids int32 [T], offset, vocab)", dy, dtable, ids, offset, vocab)
	must(dtable.Type == dtype.Float32, "EmbeddingGrad(dtable float32 [V,D])", dtable)
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

func checkEmbedding(want string, y, table, ids *tensor.Tensor, offset, vocab int) {
	ok := isHP(y, table) && len(table.Shape) == 2 && ids.Type == dtype.Int32 && y.Dim(-1) == table.Dim(1) && y.Numel() == ids.Numel()*table.Dim(1)
	must(ok && offset >= 0 && offset+table.Dim(0) <= vocab, want, y, table, ids)
}

func checkIDs(ids []int32, vocab int) error {
	for t, id := range ids {
		if id < 0 || int(id) >= vocab {
			return fmt.Errorf("id %d at position %d is outside the vocabulary of %d", id, t, vocab)
		}
	}
	return nil
}
