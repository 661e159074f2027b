// SPDX-License-Identifier: Apache-2.0

// Package nn has what models are made of: modules with named parameters, and
// an autograd that is a tape of closures. Each operation runs its kernels and
// defers its backward, as Go's defer does; Backward runs them last to first.
// Composite modules write only Forward. FSDP, tensor parallelism and recipes
// are decorators of modules, wires of parameters and casters of Linears.
//
//	l := nn.NewLinear(64, 128, nn.LinearOptions{Init: nn.Normal(0.02)})
//	nn.AssignNames(l)                         // … fsdp shards l and lends its whole weight
//	c := &nn.Ctx{Stream: s, Pool: pool, Tape: &nn.Tape{}, Act: dtype.Float32}
//	y := l.Forward(c, nn.Input(x))            // x [T,64], y [T,128]
//	y.SetGrad(dy)                             // or nn.CrossEntropy(c, y, targets)
//	c.Tape.Backward()
//
// Memory: whoever makes a Var ends it. An operation frees its output at the end
// of its backward: everything computed from the output was deferred later and has
// run. What no backward reads goes earlier, when the operation's caller says Done.
// An operation of one's own is Ctx.Op. With Ctx.Mode = Eval nothing is deferred,
// and Done frees all there is.
//
// Shapes in comments: T tokens (batch times sequence), D model dimension, K and
// N a Linear's inputs and outputs, B batch, S sequence, H heads.
package nn
