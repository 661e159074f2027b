// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"fmt"

	"octet/dtype"
	"octet/tensor"
)

// gradient is the memory of a gradient, which several Vars may have: the terms of
// a sum get the sum's without a copy. One who writes to what others have still
// to read takes a copy; most often they have read it by then.
//
//	 none ──GradTarget──▶ alone ──AddGrad of another Var──▶ shared
//	                       ▲  ▲                               │
//	GradTarget copies ─────┘  └───── the others FreeGrad ─────┘
type gradient struct {
	tensor.Operand
	readers int // Vars that have it
}

// NeedsGrad reports whether anybody wants v's gradient.
func (v *Var) NeedsGrad() bool { return !v.input }

// Grad is v's gradient so far; no memory if there is none yet. It is complete
// when the backward of the operation that made v runs.
func (v *Var) Grad() tensor.Operand {
	if v.grad == nil {
		return tensor.Operand{}
	}
	return v.grad.Operand
}

// GradTarget is where a backward puts a contribution to v's gradient, and
// whether it must add to what is there.
func (v *Var) GradTarget(c *Ctx) (dst *tensor.Tensor, accumulate bool) {
	if v.grad == nil {
		v.grad = &gradient{tensor.Operand{Tensor: c.New(v.shape...)}, 1}
		return v.grad.Tensor, false
	}
	if shared := v.grad; shared.readers > 1 {
		shared.readers--
		v.grad = &gradient{tensor.Operand{Tensor: c.New(v.shape...)}, 1}
		c.Stream.Copy(v.grad.Tensor, shared.Tensor)
	}
	c.Pool.Free(v.grad.Amax) // which was of less
	v.grad.Amax = nil
	return v.grad.Tensor, true
}

// gradAmax is where a kernel puts the amax of v's gradient, which it writes; nil where nobody
// wants it.
func (v *Var) gradAmax(c *Ctx) *tensor.Tensor {
	if v.amaxOfGrad {
		v.grad.Amax = c.Pool.New(dtype.Float32)
	}
	return v.grad.Amax
}

// sumTarget is GradTarget for a kernel that adds what it is given to what it
// writes: the gradient that v has from elsewhere, in the same memory, or nothing.
func (v *Var) sumTarget(c *Ctx) (dst, add *tensor.Tensor) {
	dst, accumulate := v.GradTarget(c)
	if accumulate {
		add = dst
	}
	return dst, add
}

// Receive adds what f overwrites its argument with to v's gradient, if anybody
// wants it.
func (v *Var) Receive(c *Ctx, f func(dst *tensor.Tensor)) {
	if !v.NeedsGrad() {
		return
	}
	dst, accumulate := v.GradTarget(c)
	if !accumulate {
		f(dst)
		return
	}
	more := c.New(v.shape...)
	f(more)
	c.Stream.Add(dst, dst, more)
	c.Pool.Free(more)
}

// AddGrad adds y's gradient to v's: the first contribution is shared, not
// copied.
func (v *Var) AddGrad(c *Ctx, y *Var) {
	switch {
	case v.input:
	case v.grad == nil:
		v.grad = y.grad
		v.grad.readers++
	default:
		dst, _ := v.GradTarget(c)
		c.Stream.Add(dst, dst, y.grad.Tensor)
	}
}

// SetGrad starts a backward at v: g, in v's shape, becomes its gradient. Its
// memory is from c.Pool and is now v's.
func (v *Var) SetGrad(g *tensor.Tensor) { v.SetScaledGrad(tensor.Operand{Tensor: g}) }

// SetScaledGrad is SetGrad of a gradient with a scale, which is v's only one.
func (v *Var) SetScaledGrad(g tensor.Operand) {
	if v.grad != nil {
		panic(fmt.Sprintf("nn: %v already has a gradient", v.shape))
	}
	v.grad = &gradient{g, 1}
}

// FreeGrad gives the gradient back, unless others have still to read it.
func (v *Var) FreeGrad(c *Ctx) {
	if v.grad == nil {
		return
	}
	if v.grad.readers--; v.grad.readers == 0 {
		c.Pool.Free(v.grad.Tensor)
		c.Pool.Free(v.grad.Scale)
		c.Pool.Free(v.grad.Inv)
		c.Pool.Free(v.grad.Amax)
	}
	v.grad = nil
}

// newGrad is the memory of v's only gradient, for a kernel that overwrites it.
func (v *Var) newGrad(c *Ctx) *tensor.Tensor {
	v.SetGrad(c.New(v.shape...))
	return v.grad.Tensor
}

// gradFrom makes v's only gradient of v's value, for a kernel that overwrites one
// with the other: the same memory, unless more backwards than the caller's own
// (kept counts its Keeps), a recomputation or the caller of the model still read the
// value.
func (v *Var) gradFrom(c *Ctx, kept int) *tensor.Tensor {
	var g *tensor.Tensor
	if v.given || c.Mode.Defers() && v.keeps > kept || c.kept.holds(v.Value.Tensor) {
		g = c.New(v.shape...)
		c.Stream.Copy(g, v.Value.Tensor)
	} else {
		g = v.takeValue(c)
	}
	v.SetGrad(g)
	return g
}
