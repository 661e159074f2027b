// SPDX-License-Identifier: Apache-2.0

// Package nn has what models are made of: modules with named parameters, and
// an autograd that is a tape of closures. Each operation runs its kernels and
// defers its backward, as Go's defer does; Backward runs them last to first.
// Composite modules write only Forward. FSDP, tensor parallelism and recipes
// are decorators of modules, wires of parameters and casters of Linears.
//
//	func (b *block) Children() iter.Seq2[string, *nn.Module] {
//		return nn.Slots(nn.Slot{Name: "up", At: &b.up}, nn.Slot{Name: "down", At: &b.down})
//	}
//
//	func (b *block) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
//		return nn.Add(c, x, b.down.Forward(c, b.up.Forward(c, x)))
//	}
//
// Parameters have shapes and first values here; memory they get where they are
// sharded, on one rank too: package parallel does that, and trains.
//
// Memory: whoever makes a Var ends it. An operation frees its output at the end
// of its backward: everything computed from the output was deferred later and has
// run. What no backward reads goes earlier, when the operation's caller says Done.
// An operation of one's own is Ctx.Op. With Ctx.Mode = Eval nothing is deferred,
// and Done frees all there is. Recompute has a module keep no more than its input, and
// run again in backward.
//
// Shapes in comments: T tokens (batch times sequence), D model dimension, K and
// N a Linear's inputs and outputs, B batch, S sequence, H heads.
package nn
