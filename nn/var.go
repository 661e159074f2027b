// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"fmt"
	"slices"

	"octet/comm"
	"octet/dtype"
	"octet/tensor"
)

// Var is a value on the tape and, in backward, its gradient.
//
// Whoever made a Var ends it. An operation frees its output, with its casts and
// its gradient, at the end of its backward: all that was computed from the
// output has run by then. Before that, in forward, only the caller of the
// operation can know that the output has had its last use, and says so by Done.
type Var struct {
	// Value is high precision, or float8 with its scale. It has no memory after
	// Done or backward.
	Value tensor.Operand
	// Pending: each rank's gradient is one term of it, which whoever made the Var adds up.
	// Slice says that Value is a part of its last dimension. Both are package tp's.
	Pending bool
	Slice   *Slice

	shape []int
	of    *Var // whose memory it is, of an Alias
	given bool // the memory is the caller's
	again bool // the value is what a first pass kept, after all that was done to it in place
	input bool // nobody wants the gradient
	keeps int  // how many backwards read Value
	casts []cast
	grad  *gradient // nil until the first contribution

	amaxOfGrad bool // a cast of the gradient begins with its amax
}

// cast is what a Caster made of a Var: for the matmuls of forward, and for those
// of backward.
type cast struct {
	by         Caster
	now, later Role
	a, b       tensor.Operand
}

// Input is a Var for data: it gets no gradient and its memory stays the
// caller's.
func Input(t *tensor.Tensor) *Var {
	return &Var{Value: tensor.Operand{Tensor: t}, shape: t.Shape, given: true, input: true}
}

// Watch is a Var whose memory stays the caller's and whose gradient is the
// caller's to read and to free (FreeGrad).
func Watch(t *tensor.Tensor) *Var {
	return &Var{Value: tensor.Operand{Tensor: t}, shape: t.Shape, given: true}
}

// Slice is the part of a last dimension of size Of that a rank has, from Offset on, where
// the ranks of Group have all of it together.
type Slice struct {
	Offset, Of int
	Group      comm.Comm
}

// Shape is the value's, also after Done.
func (v *Var) Shape() []int { return v.shape }

// Rows is how many vectors of the last dimension the value has.
func (v *Var) Rows() int {
	n := 1
	for _, d := range v.shape[:len(v.shape)-1] {
		n *= d
	}
	return n
}

// amaxFor is where the kernel that makes v's value puts its amax, for the module in the slot that
// reads it; nil where that takes none.
func (v *Var) amaxFor(c *Ctx, reader *Module) *tensor.Tensor {
	if readsAmax(reader) {
		v.Value.Amax = c.Pool.New(dtype.Float32)
	}
	return v.Value.Amax
}

// Keep says that a backward will read Value, and returns it.
func (v *Var) Keep() *tensor.Tensor {
	v.keeps++
	if v.of != nil {
		v.of.Keep()
	}
	return v.Value.Tensor
}

// Done says that forward is through with v. It frees what no backward reads;
// only whoever had v made may call it.
func (v *Var) Done(c *Ctx) {
	for i := range v.casts {
		k := &v.casts[i]
		c.release(k.a, v.Value, k.b)
		k.a = k.b
	}
	if !c.Mode.Defers() {
		v.freeCasts(c, 0)
	}
	switch {
	case v.given:
	case v.keeps == 0 || !c.Mode.Defers():
		v.freeValue(c)
	default: // backward casts no value
		c.Pool.Free(v.Value.Amax)
		v.Value.Amax = nil
	}
}

// freeValue gives back the memory of the value; its scale goes with a cast that has the same.
func (v *Var) freeValue(c *Ctx) {
	inv := v.Value.Inv
	if !slices.ContainsFunc(v.casts, func(k cast) bool { return inv != nil && (k.a.Inv == inv || k.b.Inv == inv) }) {
		c.Pool.Free(v.Value.Scale)
		c.Pool.Free(inv)
	}
	c.drop(v.takeValue(c))
}

// takeValue moves the memory out of v, to be written to.
func (v *Var) takeValue(c *Ctx) *tensor.Tensor {
	t := v.Value.Tensor
	c.Pool.Free(v.Value.Amax)
	v.Value = tensor.Operand{}
	return t
}

// Cast is v as role now of a matmul wants it, and as the later role of a matmul
// of backward does (NoRole: there is none). Modules whose Casters serve one
// another share the cast. The memory is v's.
func (v *Var) Cast(c *Ctx, by Caster, now, later Role) (a, b tensor.Operand) {
	for _, k := range v.casts {
		if by.Serves(k.by, k.now, now) && (later == NoRole || by.Serves(k.by, k.later, later)) {
			if s, ok := by.(Sharer); ok {
				s.Took(c, k.by, now, later)
			}
			return k.a, k.b
		}
	}
	if v.Value.Tensor == nil {
		panic(fmt.Sprintf("nn: a value %v is used after Done", v.shape))
	}
	a, b = by.Cast(c, v.Value, now, later)
	if b.Tensor == v.Value.Tensor {
		v.Keep()
	}
	if a.Tensor == v.Value.Tensor && (later == NoRole || b.Tensor == a.Tensor) {
		return a, b
	}
	if v.given && len(v.casts) == 0 && c.Mode.Defers() {
		// No operation frees the casts of what was given. What is deferred here
		// runs after the backwards of all that share them.
		c.Tape.Defer(func() { v.freeCasts(c, 0) })
	}
	v.casts = append(v.casts, cast{by, now, later, a, b})
	return a, b
}

// free gives back all of v's memory, at the end of its operation's backward.
func (v *Var) free(c *Ctx) {
	v.freeCasts(c, 0)
	v.freeValue(c)
	v.FreeGrad(c)
}

// freeCasts gives back the casts but for the first few.
func (v *Var) freeCasts(c *Ctx, stay int) {
	if len(v.casts) <= stay {
		return
	}
	for _, k := range v.casts[stay:] {
		c.release(k.a, v.Value, k.b)
		c.release(k.b, v.Value)
	}
	v.casts = v.casts[:stay]
}
