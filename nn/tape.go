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
	last  *reading // the newest
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
	t.steps, t.last = t.steps[:0], nil
}

// Mode says what a forward pass is for.
type Mode uint8

// Train defers a backward. Eval has none: nothing is kept for it, and what
// modules and casters remember from batch to batch does not change. What is run
// again before its backward (Recompute) has a FirstPass, which keeps nothing
// either, and a Recomputation, which defers the backward.
const (
	Train Mode = iota
	Eval
	FirstPass
	Recomputation
)

// Defers reports whether a pass defers a backward, and so keeps what that reads.
func (m Mode) Defers() bool { return m == Train || m == Recomputation }

// Counts reports whether what modules and casters remember from batch to batch
// may change: of a forward that is run twice only the first time counts.
func (m Mode) Counts() bool { return m == Train || m == FirstPass }

// Ctx is what a forward pass of one rank needs: where work runs, where memory
// comes from, and where backwards are deferred.
type Ctx struct {
	Stream device.Stream
	Pool   *device.Pool
	Tape   *Tape
	Act    dtype.Type // of activations and of weights that are not float8
	Mode   Mode
	// Dry says that the device computes nothing (device/null): what the host computes
	// for it is left out too.
	Dry bool

	// Loss is where losses add up, and Scale what each is multiplied by: one divided
	// by what the mean is taken over, of all ranks and microbatches. float32 [1];
	// CrossEntropy and MeanSquaredError need them.
	Loss, Scale *tensor.Tensor

	// Tokens is the shape of what an activation [T,D] has for its rows, such as [B,S], where a rank has
	// some of them only: whoever makes them whole again needs it (package tp).
	Tokens []int

	// Cache, where there is one, has what attention saw of a sequence so far; Eval only.
	Cache *KVCache

	kept *kept // what selective recomputation keeps, within it; nil: nothing
}

// New allocates an activation.
func (c *Ctx) New(shape ...int) *tensor.Tensor { return c.Pool.New(c.Act, shape...) }

// Op begins an operation and returns its output, memory of the given shape for
// the caller to fill. In backward back is called when the output's gradient is
// complete, to hand gradients to the operation's inputs (GradTarget, AddGrad);
// then the output is freed. Where c.Mode does not defer it is never called.
//
//	func Double(c *nn.Ctx, x *nn.Var) *nn.Var {
//		y := c.Op(func(y *nn.Var) {
//			dx, accumulate := x.GradTarget(c) // …
//		}, x.Shape()...)
//		c.Stream.Add(y.Value.Tensor, x.Value.Tensor, x.Value.Tensor)
//		return y
//	}
func (c *Ctx) Op(back func(y *Var), shape ...int) *Var { return c.op(back, c.New(shape...)) }

// op is Op whose output is t.
func (c *Ctx) op(back func(y *Var), t *tensor.Tensor) *Var {
	return c.OpTo(back, tensor.Operand{Tensor: t})
}

// OpTo is Op whose output is in memory that it is given, of c.Pool, and that is the output's
// from here on: of a scaled value that of the scale and its reciprocal too.
func (c *Ctx) OpTo(back func(y *Var), value tensor.Operand) *Var {
	y := &Var{Value: value, shape: value.Shape}
	if c.Mode.Defers() {
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

// Alias is x's value as a Var of its own: what a module gets whose gradient back takes to x,
// for example the sum of those of all ranks. The memory is x's.
func (c *Ctx) Alias(x *Var, back func(y *Var)) *Var {
	y := &Var{Value: x.Value, Slice: x.Slice, shape: x.shape, of: x, given: true, input: x.input}
	if c.Mode.Defers() && !x.input {
		c.Tape.Defer(func() {
			back(y)
			y.FreeGrad(c)
		})
	}
	return y
}

// saved is for memory that only a backward reads: without one it is free at once.
func (c *Ctx) saved(t *tensor.Tensor) {
	if !c.Mode.Defers() {
		c.drop(t)
	}
}

// drop frees t, unless selective recomputation keeps it.
func (c *Ctx) drop(t *tensor.Tensor) {
	if !c.kept.holds(t) {
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
// evaluation, where no backward does. In a FirstPass the scope around does.
func Scoped(c *Ctx, m Module, x *Var) *Var {
	if c.Mode == FirstPass {
		return m.Forward(c, x)
	}
	end := c.Pool.Scope()
	y := m.Forward(c, x)
	x.freeCasts(c, 0)
	end(y.Value.Tensor, y.Value.Scale, y.Value.Inv, y.Value.Amax)
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
