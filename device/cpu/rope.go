// SPDX-License-Identifier: Apache-2.0

package cpu

import "octet/tensor"

// RoPE rotates pairs in place; see device.Kernels.
func (s *Stream) RoPE(x, table *tensor.Tensor, inverse bool) {
	const want = "RoPE(x [B,S,H,hd], table float32 [>=S,hd/2,2])"
	must(isHP(x) && len(x.Shape) == 4 && len(table.Shape) == 3 && x.Dim(3)%2 == 0, want, x, table)
	seq, heads, hd := x.Dim(1), x.Dim(2), x.Dim(3)
	must(isF32(table, table.Dim(0)*hd) && table.Dim(0) >= seq && table.Dim(2) == 2, want, x, table)
	s.do(func() {
		v, t := vecOf(x), f32s(table)[:seq*hd]
		tokens, width := x.Dim(0)*seq, heads*hd
		s.pieces(tokens, rowsPerPiece(width), func(lo, hi int) {
			s.dev.table.rope(v.part(lo*width, hi*width), t, heads, hd, lo, inverse)
		})
	})
}

// ropeGo rotates the tokens of x; the first of them has index first in [B·S].
// table is [S,hd/2,2].
func ropeGo(x vec, table []float32, heads, hd, first int, inverse bool) {
	for i := 0; i < x.n; i += 2 {
		token, pair := first+i/(heads*hd), i%hd
		at := (token*hd + pair) % len(table)
		cos, sin := table[at], table[at+1]
		if inverse {
			sin = -sin
		}
		a, b := x.at(i), x.at(i+1)
		x.set(i, a*cos-b*sin)
		x.set(i+1, a*sin+b*cos)
	}
}
