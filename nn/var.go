// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"fmt"

	"octet/tensor"
)

// Var is a value on the tape and, in backward, its gradient.
type Var struct {
	Value *tensor.Tensor
	// Grad is nil until the first gradient arrives. It is complete when the
	// backward of the operation that made the Var runs.
	Grad *tensor.Tensor

	input bool // nobody wants its gradient
	kept  bool // some backward reads Value
	twin  *Var // the one other Var whose Grad is the same memory, and whose twin is this one; see share
	casts []cast
}

type cast struct {
	by   Caster
	role Role
	op   tensor.Operand
}

// Input is a Var for data: it gets no gradient and its memory stays the
// caller's.
func Input(t *tensor.Tensor) *Var { return &Var{Value: t, input: true} }

// Keep says that a backward will read Value, and returns it.
func (v *Var) Keep() *tensor.Tensor {
	v.kept = true
	return v.Value
}

// Done says that forward is through with v, and frees a Value that no
// backward reads.
func (v *Var) Done(c *Ctx) {
	if !v.kept && !v.input {
		c.Pool.Free(v.Value)
		v.Value = nil
	}
}

// overwrite moves Value out of v in forward, for an operation whose result
// takes its place.
func (v *Var) overwrite() *tensor.Tensor {
	if v.kept || v.input {
		panic(fmt.Sprintf("nn: %v would be overwritten, but a backward or the caller still reads it", v.Value))
	}
	return v.take()
}

// take moves Value out of v.
func (v *Var) take() *tensor.Tensor {
	t := v.Value
	v.Value = nil
	return t
}

// GradTarget is where a backward puts a contribution of the given shape to v's
// gradient, and whether it must add to what is there.
func (v *Var) GradTarget(c *Ctx, shape []int) (dst *tensor.Tensor, accumulate bool) {
	if v.Grad == nil {
		v.Grad = c.New(shape...)
		return v.Grad, false
	}
	v.own(c)
	return v.Grad, true
}

// share gives a and b, terms of a sum, the gradient g without a copy. Whichever
// of them is to be written to while the other has yet to read it gets a copy
// then; most often one is read and freed before the other is added to.
func share(a, b *Var, g *tensor.Tensor) {
	a.Grad, b.Grad = g, g
	a.twin, b.twin = b, a
}

// own makes Grad v's alone, so that it may be written to.
func (v *Var) own(c *Ctx) {
	if v.twin == nil {
		return
	}
	shared := v.Grad
	v.Grad = c.New(shared.Shape...)
	c.Stream.Copy(v.Grad, shared)
	v.leave()
}

// leave gives shared memory over to the twin.
func (v *Var) leave() { v.twin.twin, v.twin = nil, nil }

// freeGrad gives back Grad, unless a twin still has it.
func (v *Var) freeGrad(c *Ctx) {
	if v.twin != nil {
		v.leave()
	} else {
		c.Pool.Free(v.Grad)
	}
	v.Grad = nil
}

// drop frees the gradient of an input, which nobody wants.
func (v *Var) drop(c *Ctx) {
	if v.input {
		v.freeGrad(c)
	}
}

// Cast is v as role r of a matmul wants it. Modules that share an input and a
// Caster share the cast.
func (v *Var) Cast(c *Ctx, by Caster, r Role) tensor.Operand {
	for _, k := range v.casts {
		if k.by == by && by.Alike(k.role, r) {
			return k.op
		}
	}
	op := by.Cast(c, r, tensor.Operand{Tensor: v.Value})
	if op.Tensor == v.Value {
		v.kept = true
	} else if v.input && len(v.casts) == 0 {
		// No producer frees the casts of an input. What is deferred here runs
		// after the backwards of all that share them.
		c.Tape.Defer(func() { v.freeCasts(c) })
	}
	v.casts = append(v.casts, cast{by, r, op})
	return op
}

// free gives back all of v's memory, at the end of its producer's backward.
func (v *Var) free(c *Ctx) {
	v.freeCasts(c)
	c.Pool.Free(v.take())
	v.freeGrad(c)
}

func (v *Var) freeCasts(c *Ctx) {
	for _, k := range v.casts {
		if k.op.Tensor != v.Value {
			c.Pool.Free(k.op.Tensor)
			c.Pool.Free(k.op.Scale)
			c.Pool.Free(k.op.Inv)
		}
	}
	v.casts = nil
}
