// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"fmt"
	"slices"

	"octet/dtype"
	"octet/tensor"
)

// Keep is what the first pass of a recomputed module leaves for its second.
type Keep uint8

// KeepInput leaves only the module's input: least memory, and all of forward is run
// again (torchtitan's full activation checkpointing). KeepCostly also leaves the
// results of attention and of every second Linear, beginning with the first, so that
// only the rest is run again (its selective "op").
const (
	KeepInput Keep = iota
	KeepCostly
)

// String is what of the module is not run again.
func (k Keep) String() string {
	return [...]string{"nothing", "attention and every second linear layer"}[k]
}

// Recompute is m with activation checkpointing (arXiv 1604.06174): forward keeps m's
// input in place of all that its backward reads, and backward runs m's forward
// again, with the same kernels on the same values, so to the same bits. FSDP
// decorates what Recompute returns, and gathers once for both.
//
// The two passes are told apart by Ctx.Mode. What m computes may depend on nothing
// that changes between them; an operation of one's own that writes over what a Linear
// returned cannot stand within KeepCostly. Within a module that is recomputed already
// the inner one's Recompute does nothing.
func Recompute(m Module, keep Keep) Decorator { return &recomputed{inner: m, keep: keep} }

type recomputed struct {
	Leaf
	NoParams
	inner Module
	keep  Keep
}

// Inner is the module that is recomputed.
func (r *recomputed) Inner() *Module { return &r.inner }

// Forward is the first pass; the backward that it defers is the second, and what
// that one defers. x is the input of both, so that it collects its gradient in the
// order in which it does without recomputation.
func (r *recomputed) Forward(c *Ctx, x *Var) *Var {
	if c.Mode != Train {
		return r.inner.Forward(c, x)
	}
	k := r.kept()
	first := r.firstPass(c, x, k)
	if first == x {
		return x
	}
	x.Keep()
	y := &Var{Value: first.Value, shape: first.shape, given: first.given || k.holds(first.Value.Tensor), Slice: first.Slice, amaxOfGrad: first.amaxOfGrad}
	tokens := c.Tokens
	c.Tape.Defer(func() {
		c.Tokens = tokens
		r.backward(c, x, y, k)
		if !y.given { // who is given memory by what was kept leaves it to the second pass
			y.free(c)
		}
	})
	return y
}

// firstPass runs forward and frees all memory it took but the output's and what k
// keeps.
func (r *recomputed) firstPass(c *Ctx, x *Var, k *kept) *Var {
	casts := len(x.casts)
	end := c.Pool.Scope()
	c.Mode, c.kept = FirstPass, k
	y := r.inner.Forward(c, x)
	c.Mode, c.kept = Train, nil
	x.freeCasts(c, casts)
	end(append(k.list(), y.Value.Tensor, y.Value.Scale, y.Value.Inv, y.Value.Amax)...)
	return y
}

// backward runs forward again, on a tape of its own, and that tape's backward.
func (r *recomputed) backward(c *Ctx, x, y *Var, k *kept) {
	casts, tape, loss := len(x.casts), c.Tape, c.Loss
	if loss != nil { // one that is taken within the module counted in the first pass
		c.Loss = c.Pool.New(dtype.Float32, 1)
		defer c.Pool.Free(c.Loss)
	}
	c.Tape, c.Mode, c.kept = &Tape{}, Recomputation, k.again()
	again := r.inner.Forward(c, x)
	c.Loss, c.Mode, c.kept = loss, Train, nil
	if left := k.list(); len(left) > 0 {
		panic(fmt.Sprintf("nn: a recomputation ends before it came to %v, which the first pass computed: Forward must do the same twice", left[0]))
	}
	if y.grad != nil {
		again.grad, y.grad = y.grad, nil
	}
	c.Tape.Backward()
	c.Tape = tape
	x.freeCasts(c, casts)
}

// costly is a kind of operation whose results KeepCostly may keep.
type costly int

const (
	linear costly = iota
	attention
)

// kept are the results that the first pass leaves, in the order in which the second
// takes them. A nil one keeps nothing.
type kept struct {
	linears int // so far, in this pass
	results []*tensor.Tensor
}

// kept begins a first pass.
func (r *recomputed) kept() *kept {
	if r.keep == KeepInput {
		return nil
	}
	return &kept{}
}

// keeps decides on the next operation, alike in both passes.
func (k *kept) keeps(kind costly) bool {
	if k == nil || kind == attention {
		return k != nil
	}
	k.linears++
	return k.linears%2 == 1
}

// again is k at the beginning of the second pass.
func (k *kept) again() *kept {
	if k != nil {
		k.linears = 0
	}
	return k
}

func (k *kept) list() []*tensor.Tensor {
	if k == nil {
		return nil
	}
	return slices.Clone(k.results)
}

func (k *kept) holds(t *tensor.Tensor) bool { return k != nil && slices.Contains(k.results, t) }

// result is memory for what an operation computes, and whether its values are there
// already: in a recomputation, where the operation is one that keeps them.
func (c *Ctx) result(keeps bool, ty dtype.Type, shape ...int) (t *tensor.Tensor, there bool) {
	if !keeps || c.Mode == FirstPass {
		t = c.Pool.New(ty, shape...)
		if keeps {
			c.kept.results = append(c.kept.results, t)
		}
		return t, false
	}
	k := c.kept
	if len(k.results) == 0 || k.results[0].Type != ty || !slices.Equal(k.results[0].Shape, shape) {
		panic(fmt.Sprintf("nn: a recomputation computes %v%v, but the first pass left %v: Forward must do the same twice", ty, shape, k.results))
	}
	t, k.results = k.results[0], k.results[1:]
	return t, true
}
