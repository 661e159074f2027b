// SPDX-License-Identifier: Apache-2.0

package fp8

import (
	"octet/comm"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// site is one Linear in float8, what torchao's Float8Linear holds: it makes the operands
// of the matmuls and has the scale of the weight, which its Wire sends by.
type site struct {
	recipe *Recipe
	fqn    string // at conversion
	weight *nn.Param

	watch *watched // nil: nobody looks

	// The ranks that have the other parts of input, weight and grad_output; nil: there are none.
	spread [len(kinds)]comm.Comm

	agreed *agreed // of gradients that are cast next; nil: nothing

	// Of a weight that travels as float8 with a dynamic scale: the place of it.
	scales *scales
	index  int

	// Where any cast is delayed: the place of its slots; and the weight's writes, plus
	// one, at the first cast since the last sync, 0 before it.
	histories *histories
	layer     int
	casts     uint64
}

var (
	_ nn.Caster     = (*site)(nil)
	_ nn.AmaxReader = (*site)(nil)
	_ nn.Sharer     = (*site)(nil)
	_ nn.Stateful   = (*site)(nil)
)

// Cast makes x float8 with scales of its own amaxes: one, or one for each vector that
// the role's matmul sums over; or with that of its history. A gathered weight is float8
// already and stays as it is.
//
// The roles of grad_weight and the weight's of grad_input read their tensor along
// its other dimension. Where the device's matmuls read operands of one layout
// only, those are made transposed. By rows each role has bytes of its own; what
// is cast for grad_weight is cast in forward, because a byte an element is half
// of what keeping the input would take.
func (k *site) Cast(c *nn.Ctx, x tensor.Operand, now, later nn.Role) (a, b tensor.Operand) {
	if rows, _ := x.Value(); againstRows(later) && k.pads(c, later, rows) {
		a, _ = k.Cast(c, x, now, nn.NoRole)
		padded := padRows(c, x)
		b, _ = k.Cast(c, padded, later, nn.NoRole)
		c.Pool.Free(padded.Tensor)
		return a, b
	}
	how := k.recipe.Cast[now]
	if later != nn.NoRole && (k.recipe.Cast[later] != how || how.Granularity == Axiswise) {
		a, _ = k.Cast(c, x, now, nn.NoRole)
		b, _ = k.Cast(c, x, later, nn.NoRole)
		return a, b
	}
	across := func(nn.Role) bool { return false }
	if c.Stream.Float8TN() && how.Type != Disabled && !k.recipe.Config.Emulate {
		across = againstRows
	}
	plain, turned := k.layouts(c, k.fold(x, now), now, !across(now), across(now) || across(later))
	if a = plain; across(now) {
		a = turned
	}
	switch {
	case across(later):
		b = turned
	case later != nn.NoRole:
		b = plain
	}
	return a, b
}

// pads reports whether a tensor of so many rows is padded where a matmul sums over them:
// on a device that reads operands of one layout, whose float8 matmuls take sums over
// multiples of 16 only. Others take any, and zeros would not change their sums.
func (k *site) pads(c *nn.Ctx, role nn.Role, rows int) bool {
	return k.recipe.Config.PadInnerDim && c.Stream.Float8TN() && k.recipe.Cast[role].Type != Disabled && !k.recipe.Config.Emulate && rows%Alignment != 0
}

// padRows is x [R,C] with rows of zeros up to a multiple of 16, which change no amax.
func padRows(c *nn.Ctx, x tensor.Operand) tensor.Operand {
	rows, cols := x.Value()
	padded := c.Pool.New(x.Type, (rows+Alignment-1)/Alignment*Alignment, cols)
	c.Stream.Copy(padded.Rows(0, rows), x.Tensor.View(rows, cols))
	c.Stream.Zero(padded.Rows(rows, padded.Shape[0]))
	return tensor.Operand{Tensor: padded, Amax: x.Amax}
}

// againstRows reports whether the role's matmul sums over the rows of its tensor.
func againstRows(r nn.Role) bool { return r != nn.NoRole && r != forward(r) }

// scales is the shape of the scales of x [R,C] as a role.
func (c Cast) scales(x tensor.Operand, role nn.Role) []int {
	rows, cols := x.Value()
	switch {
	case c.Granularity != Axiswise:
		return nil
	case againstRows(role):
		return []int{1, cols}
	}
	return []int{rows, 1}
}

// fold takes the scales of a weight [N,K] that was gathered with one a row out of the
// sum over N that grad_input is, where no matmul takes them, and multiplies
// grad_output's columns by them before its cast:
//
//	dX[m,k] = Σ_n dY[m,n]·(W8[n,k]·r[n]) = Σ_n (dY[m,n]·r[n])·W8[n,k]
func (k *site) fold(x tensor.Operand, role nn.Role) tensor.Operand {
	switch role {
	case nn.GradOut:
		if _, travels := k.weight.Wire.(*RowWire); travels && byRows(k.weight.Value()) {
			inv := k.weight.Value().Inv
			x.Inv = inv.View(1, inv.Numel())
		}
	case nn.WeightForGI:
		if byRows(x) {
			x.Scale, x.Inv = nil, nil
		}
	}
	return x
}

// byRows reports whether a weight was gathered with a scale a row.
func byRows(w tensor.Operand) bool { return w.Type.IsFloat8() && w.Granularity() == tensor.PerRow }

// layouts casts x to memory as x lies, and to memory that is transposed.
func (k *site) layouts(c *nn.Ctx, x tensor.Operand, role nn.Role, asItLies, transposed bool) (plain, turned tensor.Operand) {
	how := k.recipe.Cast[role]
	scales := how.scales(x, role)
	if how.Type == Disabled {
		return x, turned
	}
	plain = x
	cast := x.Type != how.Format
	scale, inv := x.Scale, x.Inv
	if cast {
		plain, scale, inv = tensor.Operand{}, c.Pool.New(dtype.Float32, scales...), c.Pool.New(dtype.Float32, scales...)
		if asItLies {
			plain = tensor.Operand{Tensor: c.Pool.New(how.Format, x.Shape...), Scale: scale, Inv: inv}
		}
	}
	if transposed {
		rows, cols := x.Value()
		turned = tensor.Operand{Tensor: c.Pool.New(how.Format, cols, rows), Scale: scale, Inv: inv, Transposed: true}
	}
	switch {
	case cast && how.Type == Delayed:
		k.delayedCast(c, plain, turned, x, role)
	case cast:
		k.dynamicCast(c, plain, turned, x, role)
	case transposed:
		c.Stream.Transpose(turned.Tensor, x.Tensor.View(turned.Value()))
	}
	if cast {
		k.watch.measure(c.Stream, role, x, plain, turned)
	}
	if k.recipe.Config.Emulate {
		wide := tensor.Operand{Tensor: c.Pool.New(dtype.Float32, x.Shape...)}
		c.Stream.Cast(wide, tensor.Operand{}, plain)
		if cast {
			c.Pool.Free(plain.Tensor)
			c.Pool.Free(scale)
			c.Pool.Free(inv)
		}
		plain = wide
	}
	return plain, turned
}

// Serves holds for the same role under an equal cast: it does not depend on the
// weight, but where it is delayed on the history.
func (k *site) Serves(by nn.Caster, made, want nn.Role) bool {
	other, ok := by.(*site)
	return ok && made == want && (other.recipe == k.recipe || *other.recipe == *k.recipe) &&
		k.spread[forward(want)] == other.spread[forward(want)] && (k.recipe.Cast[want].Type != Delayed || k.sharesScale(other, want))
}

// ReadsAmax holds for a dynamic scale of a whole tensor.
func (k *site) ReadsAmax(role nn.Role) bool {
	how := k.recipe.Cast[role]
	return how.Type == Dynamic && how.Granularity != Axiswise
}

func (k *site) FastAccum(m nn.MatMul) bool { return k.recipe.FastAccum[m] }
func (k *site) String() string             { return k.recipe.String() }
