// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"fmt"
	"slices"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// Tape is the backward of a forward pass, in the order it was deferred: PyTorch's
// autograd graph, as a list.
type Tape struct {
	steps []func()
}

// Defer adds the backward of an operation that has just been enqueued.
func (t *Tape) Defer(back func()) {
	if t == nil {
		panic("nn: a forward pass in Train mode needs a tape: set Ctx.Tape to &nn.Tape{}, or Ctx.Mode to nn.Eval")
	}
	t.steps = append(t.steps, back)
}

// Empty reports whether no backward is deferred.
func (t *Tape) Empty() bool { return t == nil || len(t.steps) == 0 }

// Backward runs the deferred steps, the last one first, and empties the tape. One
// that is empty panics: the backward has run, or there was no forward in Train mode.
func (t *Tape) Backward() {
	if t.Empty() {
		panic("nn: Backward of an empty tape: call Forward in Train mode first, and Backward once after it")
	}
	for i := len(t.steps) - 1; i >= 0; i-- {
		t.steps[i]()
		t.steps[i] = nil
	}
	t.steps = t.steps[:0]
}

// Mode says what a forward pass is for.
type Mode uint8

// Train defers a backward. Eval has none: nothing is kept for it, and what
// modules and casters remember from batch to batch does not change.
const (
	Train Mode = iota
	Eval
)

// Ctx is what a forward pass of one rank needs: where work runs, where memory
// comes from, and where backwards are deferred.
type Ctx struct {
	Stream device.Stream
	Pool   *device.Pool
	Tape   *Tape
	Act    dtype.Type // of activations and of weights that are not float8
	Mode   Mode

	// Loss is where losses add up, and Scale what each is multiplied by: one divided
	// by what the mean is taken over, of all ranks and microbatches. float32 [1];
	// CrossEntropy and MeanSquaredError need them.
	Loss, Scale *tensor.Tensor
}

// New allocates an activation.
func (c *Ctx) New(shape ...int) *tensor.Tensor { return c.Pool.New(c.Act, shape...) }

// Op begins an operation and returns its output, memory of the given shape for
// the caller to fill. In backward back is called when the output's gradient is
// complete, to hand gradients to the operation's inputs (GradTarget, AddGrad);
// then the output is freed. Evaluation never calls it.
//
//	func Double(c *nn.Ctx, x *nn.Var) *nn.Var {
//		y := c.Op(func(y *nn.Var) {
//			dx, accumulate := x.GradTarget(c) // …
//		}, x.Shape()...)
//		c.Stream.Add(y.Value.Tensor, x.Value.Tensor, x.Value.Tensor)
//		return y
//	}
func (c *Ctx) Op(back func(y *Var), shape ...int) *Var {
	t := c.New(shape...)
	y := &Var{Value: tensor.Operand{Tensor: t}, shape: t.Shape}
	if c.Mode == Train {
		c.Tape.Defer(func() {
			if y.grad == nil {
				panic(fmt.Sprintf("nn: Backward reaches a value %v that has no gradient: take a loss of what Forward returned (CrossEntropy, MeanSquaredError, SetGrad), and use every value", y.shape))
			}
			back(y)
			y.free(c)
		})
	}
	return y
}

// saved is for memory that only a backward reads: evaluation frees it at once.
func (c *Ctx) saved(t *tensor.Tensor) {
	if c.Mode == Eval {
		c.Pool.Free(t)
	}
}

// release frees what a Caster made, but for memory of the operands that stay.
func (c *Ctx) release(made tensor.Operand, stay ...tensor.Operand) {
	for _, t := range [...]*tensor.Tensor{made.Tensor, made.Scale, made.Inv} {
		if t != nil && !slices.ContainsFunc(stay, func(o tensor.Operand) bool { return t == o.Tensor || t == o.Scale || t == o.Inv }) {
			c.Pool.Free(t)
		}
	}
}

// Scoped runs m on x and frees all memory that it took but its output's: for
// evaluation, where no backward does.
func Scoped(c *Ctx, m Module, x *Var) *Var {
	end := c.Pool.Scope()
	y := m.Forward(c, x)
	x.freeCasts(c)
	end(y.Value.Tensor, y.Value.Scale, y.Value.Inv)
	return y
}

// Last runs m on x, whose last use that is.
func Last(c *Ctx, m Module, x *Var) *Var {
	y := m.Forward(c, x)
	if y != x { // m may pass its input on
		x.Done(c)
	}
	return y
}
