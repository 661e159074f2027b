// SPDX-License-Identifier: Apache-2.0

// Package nn has what models are made of: modules with named parameters, and
// an autograd that is a tape of closures. Each operation runs its kernels and
// defers its backward, as Go's defer does; Backward runs them last to first.
// Composite modules write only Forward. FSDP, tensor parallelism and recipes
// are decorators of modules or fields of parameters; nothing here knows them.
//
//	l := nn.NewLinear(64, 128, nn.LinearOptions{Init: nn.Normal(0.02)})
//	nn.AssignNames(l)
//	c := &nn.Ctx{Stream: s, Pool: pool, Tape: &nn.Tape{}, Act: dtype.Float32}
//	y := l.Forward(c, nn.Input(x))            // x [T,64], y [T,128]
//	y.Grad = dy
//	c.Tape.Backward()                         // l.Weight.FullGrad, x's Grad
//
// Memory: an operation's backward is the last to need its output, because
// everything computed from the output was deferred later and has run. So each
// operation frees its own output at the end of its backward, and no counting is
// needed. Values that no backward reads are given back earlier, by Var.Done.
//
// Shapes in comments: T tokens (batch times sequence), D model dimension, K and
// N a Linear's inputs and outputs, B batch, S sequence, H heads.
package nn
