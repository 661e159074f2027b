// SPDX-License-Identifier: Apache-2.0

package dtensor

import "fmt"

// Chunk is the part of a dim of size n that the coordinate r of w holds, by the rule of torch.chunk: the first ranks hold the
// ceiling n/w, then one holds what is left, and late ranks may hold nothing. An empty part starts at n.
func Chunk(n, w, r int) (start, size int) {
	if r < 0 || r >= w {
		panic(fmt.Sprintf("dtensor: coordinate %d of %d", r, w))
	}
	c := Padded(n, w)
	start = min(n, c*r)
	return start, min(n, start+c) - start
}

// Padded is the size ⌈n/w⌉ to which each part of a dim of size n, cut in w, is padded for a collective.
func Padded(n, w int) int {
	if n < 0 || w < 1 {
		panic(fmt.Sprintf("dtensor: a dim of size %d cut in %d", n, w))
	}
	return (n + w - 1) / w
}
