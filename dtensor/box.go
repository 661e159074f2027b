// SPDX-License-Identifier: Apache-2.0

package dtensor

import (
	"fmt"
	"slices"
)

// Box is a part of a tensor: of each dim the indices from Lo up to, and without, Hi. As memory it is a row-major array of its own.
type Box struct {
	Lo []int `json:"lo"`
	Hi []int `json:"hi"`
}

// Whole is the box of all of a tensor.
func Whole(shape []int) Box { return Box{make([]int, len(shape)), slices.Clone(shape)} }

// Shape is the size of each dim.
func (b Box) Shape() []int {
	shape := make([]int, len(b.Lo))
	for i, lo := range b.Lo {
		shape[i] = b.Hi[i] - lo
	}
	return shape
}

// Numel is the number of elements, 1 of a box without dims.
func (b Box) Numel() int {
	n := 1
	for i, lo := range b.Lo {
		n *= b.Hi[i] - lo
	}
	return n
}

// Rows is the part of b with the indices lo to hi-1 of the first dim, counted within b.
func (b Box) Rows(lo, hi int) Box {
	if lo < 0 || hi < lo || hi > b.Hi[0]-b.Lo[0] {
		panic(fmt.Sprintf("dtensor: rows %d:%d of the box %v", lo, hi, b))
	}
	rows := Box{slices.Clone(b.Lo), slices.Clone(b.Hi)}
	rows.Lo[0], rows.Hi[0] = b.Lo[0]+lo, b.Lo[0]+hi
	return rows
}

// Intersect is what two boxes of one tensor share; false where that is no element.
func (b Box) Intersect(o Box) (Box, bool) {
	if len(b.Lo) != len(o.Lo) {
		panic(fmt.Sprintf("dtensor: the boxes %v and %v are not of one tensor", b, o))
	}
	both := Box{make([]int, len(b.Lo)), make([]int, len(b.Lo))}
	for i := range b.Lo {
		both.Lo[i], both.Hi[i] = max(b.Lo[i], o.Lo[i]), min(b.Hi[i], o.Hi[i])
		if both.Lo[i] >= both.Hi[i] {
			return Box{}, false
		}
	}
	return both, true
}

// Overlap calls f for every stretch of elements that the memory of b and that of o both have one after the other: where it starts in each, and
// how many it is. Together they are what the boxes share, as few stretches as there can be.
func (b Box) Overlap(o Box, f func(inB, inO, n int)) {
	both, ok := b.Intersect(o)
	if !ok {
		return
	}
	// The last dims that both have whole run on into the dim before them.
	run, outer := 1, len(both.Lo)
	for outer > 0 {
		outer--
		run *= both.Hi[outer] - both.Lo[outer]
		if b.Lo[outer] != o.Lo[outer] || b.Hi[outer] != o.Hi[outer] {
			break
		}
	}
	at := slices.Clone(both.Lo)
	for {
		f(b.index(at), o.index(at), run)
		dim := outer - 1
		for ; dim >= 0; dim-- {
			if at[dim]++; at[dim] < both.Hi[dim] {
				break
			}
			at[dim] = both.Lo[dim]
		}
		if dim < 0 {
			return
		}
	}
}

// index is where the element at the given indices of the tensor is in b's memory.
func (b Box) index(at []int) int {
	n := 0
	for i, lo := range b.Lo {
		n = n*(b.Hi[i]-lo) + at[i] - lo
	}
	return n
}

// Equal says whether two boxes are the same part.
func (b Box) Equal(o Box) bool { return slices.Equal(b.Lo, o.Lo) && slices.Equal(b.Hi, o.Hi) }

// String is such as "[0:128 64:96]".
func (b Box) String() string {
	parts := make([]string, len(b.Lo))
	for i, lo := range b.Lo {
		parts[i] = fmt.Sprintf("%d:%d", lo, b.Hi[i])
	}
	return fmt.Sprint(parts)
}
