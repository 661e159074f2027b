// SPDX-License-Identifier: Apache-2.0

package fp8

import (
	"slices"

	"octet/comm"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

var (
	_ nn.Spreader = (*site)(nil)
	_ nn.Agreer   = (*site)(nil)
)

// Spread has a dynamic scale of a whole tensor be that of all parts, by an all-reduce of
// one word a cast. Scales of rows or columns are those of the part: the products of parts, each
// scaled by its own, add up all the same. Delayed scales are alike on all ranks anyway.
func (k *site) Spread(g comm.Comm, roles ...nn.Role) {
	for _, role := range roles {
		k.spread[forward(role)] = g
	}
}

// Ship casts rows of an input or a grad_output where one scale serves both of its matmuls; and rows of an input with a scale
// each, which grad_weight folds into grad_output (nn.Linear).
func (k *site) Ship(c *nn.Ctx, x tensor.Operand, role nn.Role, g comm.Comm) (tensor.Operand, bool) {
	how := k.recipe.Cast[role]
	if how.Granularity == Axiswise {
		return k.shipByRows(c, x, role, g)
	}
	if how.Type == Disabled || k.recipe.Cast[forGradWeight(role)] != how {
		return tensor.Operand{}, false
	}
	if how.Type == Delayed && c.Mode == nn.Eval && !k.slot(role).ready { // ranks would scale alone
		return tensor.Operand{}, false
	}
	q := tensor.Operand{Tensor: c.Pool.New(how.Format, x.Shape...), Scale: c.Pool.New(dtype.Float32), Inv: c.Pool.New(dtype.Float32)}
	if how.Type == Delayed {
		k.delayedCast(c, q, tensor.Operand{}, x, role)
	} else {
		k.agreedCast(c, g, q, tensor.Operand{}, x, how.Format)
	}
	k.watch.measure(c.Stream, role, x, q, tensor.Operand{})
	return q, true
}

// AsShipped does not hold where Cast makes another layout of float8, or takes it back to float32.
func (k *site) AsShipped(c *nn.Ctx) bool { return !c.Stream.Float8TN() && !k.recipe.Config.Emulate }

// shipByRows casts rows with a scale each, the same before a gather as behind it. Not where grad_weight reads the input as it was,
// nor a gradient: its other operand was cast in forward.
func (k *site) shipByRows(c *nn.Ctx, x tensor.Operand, role nn.Role, g comm.Comm) (tensor.Operand, bool) {
	how := k.recipe.Cast[role]
	rows, _ := x.Value()
	if role != nn.In || k.recipe.Cast[nn.InForGW] != how || k.recipe.Config.Emulate || k.pads(c, nn.InForGW, rows*g.Size()) {
		return tensor.Operand{}, false
	}
	q := tensor.Operand{Tensor: c.Pool.New(how.Format, x.Shape...), Scale: c.Pool.New(dtype.Float32, rows, 1), Inv: c.Pool.New(dtype.Float32, rows, 1)}
	c.Stream.DynamicCast(q, tensor.Operand{}, x, k.recipe.Config.RoundScalesToPowerOf2)
	k.watch.measure(c.Stream, role, x, q, tensor.Operand{})
	return q, true
}

// forGradWeight is the later role of an input or a grad_output.
func forGradWeight(role nn.Role) nn.Role {
	if role == nn.GradOut {
		return nn.GradOutForGW
	}
	return nn.InForGW
}

// dynamicCast casts x by scales of its own, or of all parts where ranks have others.
func (k *site) dynamicCast(c *nn.Ctx, dst, dstT, x tensor.Operand, role nn.Role) {
	if g := k.spread[forward(role)]; g != nil && k.recipe.Cast[role].Granularity != Axiswise {
		k.agreedCast(c, g, dst, dstT, x, k.recipe.Cast[role].Format)
		return
	}
	c.Stream.DynamicCast(dst, dstT, x, k.recipe.Config.RoundScalesToPowerOf2)
}

// agreedCast casts x by one scale that the ranks of g agree on.
func (k *site) agreedCast(c *nn.Ctx, g comm.Comm, dst, dstT, x tensor.Operand, format dtype.Type) {
	to := dst
	if to.Tensor == nil {
		to = dstT
	}
	if !k.takeAgreed(c, to, x, format) {
		agree(c.Stream, c.Pool, g, to, []tensor.Operand{x}, []dtype.Type{format}, k.recipe.Config.RoundScalesToPowerOf2)
	}
	c.Stream.Cast(dst, dstT, x)
}

// agreed are the amaxes of several gradients that all ranks know, until each has been cast.
type agreed struct {
	of   []*tensor.Tensor
	amax *tensor.Tensor // float32 [len(of)]
	left int            // to be cast
}

// Agrees holds for dynamic scales of whole tensors of the same ranks.
func (k *site) Agrees(with nn.Caster) bool {
	other, ok := with.(*site)
	return ok && k.spread[nn.GradOut] != nil && k.spread[nn.GradOut] == other.spread[nn.GradOut] && k.ReadsAmax(nn.GradOut) && other.ReadsAmax(nn.GradOut)
}

// Agree is one all-reduce of a word for each gradient.
func (k *site) Agree(c *nn.Ctx, by []nn.Agreer, dy []tensor.Operand) {
	all := &agreed{left: len(dy), amax: agreedAmax(c.Stream, c.Pool, k.spread[nn.GradOut], dy)}
	for i, x := range dy {
		all.of = append(all.of, x.Tensor)
		by[i].(*site).agreed = all
	}
}

// takeAgreed makes x's scale of an amax that is known already; false: there is none.
func (k *site) takeAgreed(c *nn.Ctx, to, x tensor.Operand, format dtype.Type) bool {
	all := k.agreed
	if all == nil {
		return false
	}
	i := slices.Index(all.of, x.Tensor)
	if i < 0 {
		return false
	}
	c.Stream.Scales(to.Scale, to.Inv, all.amax.Rows(i, i+1), []dtype.Type{format}, k.recipe.Config.RoundScalesToPowerOf2)
	k.agreed = nil
	if all.left--; all.left == 0 {
		c.Pool.Free(all.amax)
	}
	return true
}
