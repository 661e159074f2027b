// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"fmt"

	"octet/comm"
	"octet/dtype"
	"octet/tensor"
)

// CrossEntropy adds Scale·Σ -log softmax(logits)[target] to c.Loss and starts the
// backward: logits' gradient takes the place of their values where no backward
// reads those. It is the last use of the logits. logits [..., V], targets int32
// or device.Ignored: the mean is over those that are not.
//
// Of logits of which each rank has a slice of the vocabulary (Var.Slice) the ranks tell one
// another three numbers a position, and each adds the whole loss to its own c.Loss.
func CrossEntropy(c *Ctx, logits *Var, targets *tensor.Tensor) {
	g := c.startBackward("CrossEntropy", logits)
	t := logits.Rows()
	g, targets = g.View(t, g.Dim(-1)), targets.View(t)
	if s := logits.Slice; s != nil {
		s.crossEntropy(c, g, targets)
	} else {
		c.Stream.CrossEntropy(c.Loss, g, targets, c.Scale)
	}
	c.endLoss(logits)
}

// crossEntropy makes logits [T,V/ranks] their gradient: the largest logit of all ranks, the
// sum of exponentials relative to it, and the target's logit, which one rank has.
func (s *Slice) crossEntropy(c *Ctx, logits, targets *tensor.Tensor) {
	var stats [4]*tensor.Tensor
	for i := range stats {
		stats[i] = c.Pool.New(dtype.Float32, targets.Dim(0))
	}
	own, whole, sum, target := stats[0], stats[1], stats[2], stats[3]
	c.Stream.CrossEntropyStats(own, sum, target, logits, targets, s.Offset, s.Of)
	c.Stream.Copy(whole, own)
	s.Group.AllReduce(c.Stream, comm.T(whole), comm.Max)
	c.Stream.RescaleSum(sum, own, whole)
	s.Group.AllReduce(c.Stream, comm.T(sum, target), comm.Sum)
	c.Stream.CrossEntropyGrad(c.Loss, logits, whole, sum, target, targets, s.Offset, c.Scale)
	for _, t := range stats {
		c.Pool.Free(t)
	}
}

// MeanSquaredError adds Scale·Σ (y - target)² to c.Loss and starts the backward as
// CrossEntropy does; the mean is over elements. It is the last use of y. target has
// y's shape, in a high-precision type.
func MeanSquaredError(c *Ctx, y *Var, target *tensor.Tensor) {
	if y.Slice != nil {
		panic(fmt.Sprintf("nn: MeanSquaredError of a value %v of which each rank has a part of the last dimension: make it whole (tp.OutputLayouts of Replicate) before", y.shape))
	}
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
