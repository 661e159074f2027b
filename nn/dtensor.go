// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"octet/dtensor"
	"octet/tensor"
)

// DTensor is a named tensor that is spread over ranks, as one of them has it: a
// parameter, a moment of one, a buffer. It is what checkpoints write and read.
type DTensor struct {
	Name   string
	Layout dtensor.Layout // of the whole
	Rank   int            // this one, in the layout's mesh
	Local  *tensor.Tensor // the elements of Box, in any type
}

// Box is the part of the whole that the rank has.
func (t DTensor) Box() dtensor.Box { return t.Layout.Box(t.Rank) }

// Primary says whether the rank is the one that writes its part.
func (t DTensor) Primary() bool { return t.Layout.Primary(t.Rank) }
