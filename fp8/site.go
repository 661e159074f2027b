// SPDX-License-Identifier: Apache-2.0

package fp8

import (
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// site is one Linear in float8, what torchao's Float8Linear holds: it makes the operands
// of the matmuls and has the scale of the weight, which its Wire sends by.
type site struct {
	recipe *Recipe
	weight *nn.Param

	// Of a weight that travels as float8: the place of its scale.
	scales *scales
	index  int
}

var _ nn.Caster = (*site)(nil)

// Cast makes x float8 with the scale of its own amax. A gathered weight is float8
// already and stays as it is.
//
// The roles of grad_weight and the weight's of grad_input read their tensor along
// its other dimension. Where the device's matmuls read operands of one layout
// only, those are made transposed.
func (k *site) Cast(c *nn.Ctx, x tensor.Operand, now, later nn.Role) (a, b tensor.Operand) {
	how := k.recipe.Cast[now]
	if later != nn.NoRole && k.recipe.Cast[later] != how {
		a, _ = k.Cast(c, x, now, nn.NoRole)
		b, _ = k.Cast(c, x, later, nn.NoRole)
		return a, b
	}
	across := func(nn.Role) bool { return false }
	if c.Stream.Float8TN() && how.Type != Disabled && !k.recipe.Config.Emulate {
		across = func(r nn.Role) bool { return r != nn.NoRole && r != forward(r) }
	}
	plain, turned := k.layouts(c, x, how, !across(now), across(now) || across(later))
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

// layouts casts x to memory as x lies, and to memory that is transposed.
func (k *site) layouts(c *nn.Ctx, x tensor.Operand, how Cast, asItLies, transposed bool) (plain, turned tensor.Operand) {
	if how.Type == Disabled {
		return x, turned
	}
	plain = x
	cast := x.Type != how.Format
	scale, inv := x.Scale, x.Inv
	if cast {
		plain, scale, inv = tensor.Operand{}, c.Pool.New(dtype.Float32), c.Pool.New(dtype.Float32)
		if asItLies {
			plain = tensor.Operand{Tensor: c.Pool.New(how.Format, x.Shape...), Scale: scale, Inv: inv}
		}
	}
	if transposed {
		rows, cols := x.Value()
		turned = tensor.Operand{Tensor: c.Pool.New(how.Format, cols, rows), Scale: scale, Inv: inv, Transposed: true}
	}
	switch {
	case cast:
		c.Stream.DynamicCast(plain, turned, x, k.recipe.Config.RoundScalesToPowerOf2)
	case transposed:
		c.Stream.Transpose(turned.Tensor, x.Tensor.View(turned.Value()))
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
// weight.
func (k *site) Serves(by nn.Caster, made, want nn.Role) bool {
	other, ok := by.(*site)
	return ok && made == want && (other.recipe == k.recipe || *other.recipe == *k.recipe)
}

func (k *site) FastAccum(m nn.MatMul) bool { return k.recipe.FastAccum[m] }
func (k *site) String() string             { return k.recipe.String() }
