// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"fmt"

	"octet/tensor"
)

// CrossEntropy adds Scale·Σ -log softmax(logits)[target] to c.Loss and starts the
// backward: logits' gradient takes the place of their values where no backward
// reads those. It is the last use of the logits. logits [..., V], targets int32
// or device.Ignored: the mean is over those that are not.
func CrossEntropy(c *Ctx, logits *Var, targets *tensor.Tensor) {
	g := c.startBackward("CrossEntropy", logits)
	t := logits.Rows()
	c.Stream.CrossEntropy(c.Loss, g.View(t, g.Dim(-1)), targets.View(t), c.Scale)
	c.endLoss(logits)
}

// MeanSquaredError adds Scale·Σ (y - target)² to c.Loss and starts the backward as
// CrossEntropy does; the mean is over elements. It is the last use of y. target has
// y's shape, in a high-precision type.
func MeanSquaredError(c *Ctx, y *Var, target *tensor.Tensor) {
	g := c.startBackward("MeanSquaredError", y)
	c.Stream.SquaredError(c.Loss, g, target, c.Scale)
	c.endLoss(y)
}

// startBackward is y's values in memory that the loss of that name makes y's
// gradient.
func (c *Ctx) startBackward(loss string, y *Var) *tensor.Tensor {
	if c.Loss == nil || c.Scale == nil {
		panic(fmt.Sprintf("nn: %s without Ctx.Loss and Ctx.Scale: call it in a function given to parallel.Model.Step or Eval, or set them", loss))
	}
	if y.grad != nil {
		panic(fmt.Sprintf("nn: a value %v has a loss already: take one of each, and add values before (Add) rather than losses", y.shape))
	}
	return y.gradFrom(c, 0)
}

func (c *Ctx) endLoss(y *Var) {
	if !c.Mode.Defers() {
		y.FreeGrad(c)
	}
}
