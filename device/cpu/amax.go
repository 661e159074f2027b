// SPDX-License-Identifier: Apache-2.0

package cpu

import "octet/tensor"

// amaxes are those of the pieces of a tensor, which a kernel takes beside what it writes,
// for the amax of all of it.
type amaxes struct {
	to    *tensor.Tensor // nil: nobody wants it
	found []uint32
}

// amaxesOf is memory for n pieces.
func (s *Stream) amaxesOf(to *tensor.Tensor, in slot, n int) (a amaxes) {
	if a.to = to; to != nil {
		a.found = scratchOf[uint32](s, in, n)[:n]
	}
	return a
}

// of is where piece i puts its own; nil: nowhere.
func (a amaxes) of(i int) *uint32 {
	if a.to == nil {
		return nil
	}
	return &a.found[i]
}

// join makes the amax of all pieces, with the bits of Amax.
func (a amaxes) join() {
	if a.to != nil {
		as[uint32](a.to)[0] = joined(a.found)
	}
}

// joined is the largest of the bits of amaxes, NaN the canonical one.
func joined(found []uint32) (amax uint32) {
	for _, a := range found {
		amax = max(amax, a)
	}
	if amax > infBits {
		return nanBits
	}
	return amax
}

// takeAmaxGo is the amax of what a piece has written, where it is wanted.
func takeAmaxGo(to *uint32, x vec) {
	if to != nil {
		*to = amaxGo(x)
	}
}
