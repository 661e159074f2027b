// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"octet/device"
	"octet/tensor"
)

// Activation is a function of each element, a module between two others.
type Activation struct {
	Leaf
	NoParams
	Function device.Activation
}

// NewReLU is max(x, 0).
func NewReLU() *Activation { return &Activation{Function: device.ReLU} }

// NewGELU is x·Φ(x), Φ the normal distribution function (arXiv 1606.08415):
// torch.nn.GELU().
func NewGELU() *Activation { return &Activation{Function: device.GELU} }

// NewGELUTanh is GELU's approximation by tanh, as GPT-2 has it:
// torch.nn.GELU(approximate="tanh").
func NewGELUTanh() *Activation { return &Activation{Function: device.GELUTanh} }

// Forward takes x of any shape to the same.
func (a *Activation) Forward(c *Ctx, x *Var) *Var {
	kept := x
	y := c.Op(func(y *Var) {
		x.Receive(c, func(dx *tensor.Tensor) {
			c.Stream.ActivateGrad(dx, y.Grad().Tensor, kept.Value.Tensor, a.Function)
		})
	}, x.Shape()...)
	c.Stream.Activate(y.Value.Tensor, x.Value.Tensor, a.Function)
	if a.Function == device.ReLU {
		kept = y // says as much as x, and what comes next may keep it too
	}
	kept.Keep()
	return y
}
