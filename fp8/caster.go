// SPDX-License-Identifier: Apache-2.0

package fp8

import (
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// caster makes operands by a recipe. Converted Linears of a model share one, so
// that they share the casts of a common input.
type caster struct {
	recipe Recipe
}

var _ nn.Caster = (*caster)(nil)

// Cast returns x in float8 with the scale of its own amax. A gathered weight is
// float8 already and stays as it is.
func (k *caster) Cast(c *nn.Ctx, r nn.Role, x tensor.Operand) tensor.Operand {
	how := k.recipe.Cast[r]
	if how.Type == Disabled {
		return x
	}
	q := x
	if x.Type != how.Format {
		q = tensor.Operand{Tensor: c.Pool.New(how.Format, x.Shape...), Scale: c.Pool.New(dtype.Float32), Inv: c.Pool.New(dtype.Float32)}
		c.Stream.DynamicCast(q, tensor.Operand{}, x, k.recipe.Pow2)
	}
	if !k.recipe.Emulate {
		return q
	}
	wide := tensor.Operand{Tensor: c.Pool.New(dtype.Float32, x.Shape...)}
	c.Stream.Cast(wide, tensor.Operand{}, q)
	if q.Tensor != x.Tensor {
		c.Pool.Free(q.Tensor)
		c.Pool.Free(q.Scale)
		c.Pool.Free(q.Inv)
	}
	return wide
}

// Alike holds for the two roles of one tensor when they are cast alike: a
// tensor-wise cast does not depend on which matmul reads it.
func (k *caster) Alike(a, b nn.Role) bool {
	return forward(a) == forward(b) && k.recipe.Cast[a] == k.recipe.Cast[b]
}

func (k *caster) FastAccum(m nn.MatMul) bool { return k.recipe.FastAccum[m] }
func (k *caster) String() string             { return k.recipe.String() }
