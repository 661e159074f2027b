// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"fmt"

	"octet/tensor"
)

// RoPE rotates pairs in place; see device.Kernels.
func (s *Stream) RoPE(x, table, pos *tensor.Tensor, inverse bool, amax *tensor.Tensor) {
	must.RoPE(x, table, pos, amax)
	seq, heads, hd := x.Dim(1), x.Dim(2), x.Dim(3)
	s.Call("rope", func() error {
		v, rows := vecOf(x), scratchOf[int32](s, slotPieces, seq)
		for t := range rows {
			rows[t] = posAt(pos, t)
			if p := rows[t]; p < 0 || int(p) >= table.Dim(0) {
				return fmt.Errorf("position %d of token %d is outside the table of %d", p, t, table.Dim(0))
			}
		}
		tokens, width := x.Dim(0)*seq, heads*hd
		size := rowsPerPiece(width)
		found := s.amaxesOf(amax, slotAmax, count(tokens, size))
		s.pieces(tokens, size, func(lo, hi int) {
			s.dev.table.rope(v.part(lo*width, hi*width), f32s(table), rows, heads, hd, lo, inverse, found.of(lo/size))
		})
		found.join()
		return nil
	})
}

// posAt is the position of token t.
func posAt(pos *tensor.Tensor, t int) int32 {
	if pos == nil {
		return int32(t)
	}
	return i32s(pos)[t]
}

// ropeGo rotates the tokens of x by the angles [N,hd/2,2] at pos [S]; the first
// token of x has index first in [B·S].
func ropeGo(x vec, angles []float32, pos []int32, heads, hd, first int, inverse bool, amax *uint32) {
	for i := 0; i < x.n; i += 2 {
		token, pair := (first+i/(heads*hd))%len(pos), i%hd
		at := int(pos[token])*hd + pair
		cos, sin := angles[at], angles[at+1]
		if inverse {
			sin = -sin
		}
		a, b := x.at(i), x.at(i+1)
		x.set(i, a*cos-b*sin)
		x.set(i+1, a*sin+b*cos)
	}
	takeAmaxGo(amax, x)
}
