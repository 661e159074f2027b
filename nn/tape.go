// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// Tape is the backward of a forward pass, in the order it was deferred.
type Tape struct {
	steps []func()
}

// Defer adds the backward of an operation that has just been enqueued.
func (t *Tape) Defer(back func()) { t.steps = append(t.steps, back) }

// Backward runs the deferred steps, the last one first, and empties the tape.
func (t *Tape) Backward() {
	for i := len(t.steps) - 1; i >= 0; i-- {
		t.steps[i]()
		t.steps[i] = nil
	}
	t.steps = t.steps[:0]
}

// Ctx is what a forward pass of one rank needs: where work runs, where memory
// comes from, and where backwards are deferred.
type Ctx struct {
	Stream device.Stream
	Pool   *device.Pool
	Tape   *Tape
	Act    dtype.Type // of activations and of weights that are not float8
}

// New allocates an activation.
func (c *Ctx) New(shape ...int) *tensor.Tensor { return c.Pool.New(c.Act, shape...) }

// release frees an operand that a Caster made from x.
func (c *Ctx) release(made, x tensor.Operand) {
	if made.Tensor != x.Tensor {
		c.Pool.Free(made.Tensor)
		c.Pool.Free(made.Scale)
		c.Pool.Free(made.Inv)
	}
}
