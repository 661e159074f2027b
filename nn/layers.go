// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"iter"

	"octet/dtype"
	"octet/tensor"
)

// Embedding looks rows up in a table [V,D].
type Embedding struct {
	Leaf
	Weight *Param
}

// NewEmbedding describes a table of vocab rows of dim.
func NewEmbedding(vocab, dim int, init Init) *Embedding {
	return &Embedding{Weight: NewParam(init, vocab, dim)}
}

// Params yields the table.
func (e *Embedding) Params() iter.Seq2[string, *Param] { return one("weight", e.Weight) }

// Forward takes ids, int32 [B,S], to [B,S,D].
func (e *Embedding) Forward(c *Ctx, ids *Var) *Var {
	y := &Var{Value: c.New(append(append([]int(nil), ids.Value.Shape...), e.Weight.Shape[1])...)}
	c.Stream.Embedding(y.Value, e.Weight.Use.Tensor, ids.Value)
	c.Tape.Defer(func() {
		e.Weight.addGrad(c, func(dtable *tensor.Tensor) { c.Stream.EmbeddingGrad(dtable, y.Grad, ids.Value) })
		y.free(c)
	})
	return y
}

// RMSNorm divides by the root of the mean square and multiplies by a weight
// [D] (arXiv 1910.07467).
type RMSNorm struct {
	Leaf
	Weight *Param
	Eps    float32
}

// NewRMSNorm describes a norm over dim; its weight starts at 1.
func NewRMSNorm(dim int, eps float32) *RMSNorm {
	return &RMSNorm{Weight: NewParam(Constant(1), dim), Eps: eps}
}

// Params yields the weight.
func (n *RMSNorm) Params() iter.Seq2[string, *Param] { return one("weight", n.Weight) }

// Forward norms the last dimension of x.
func (n *RMSNorm) Forward(c *Ctx, x *Var) *Var {
	rows, _ := x.Value.Matrix()
	rstd := c.Pool.New(dtype.Float32, rows)
	y := &Var{Value: c.New(x.Value.Shape...)}
	c.Stream.RMSNorm(y.Value, nil, rstd, x.Keep(), nil, n.Weight.Use.Tensor, n.Eps)
	c.Tape.Defer(func() {
		n.backward(c, x, y, rstd)
		x.drop(c)
	})
	return y
}

// AddForward is sum = x + r and the norm of sum, in one pass, with Add's
// conditions.
func (n *RMSNorm) AddForward(c *Ctx, x, r *Var) (sum, y *Var) {
	rows, _ := x.Value.Matrix()
	rstd := c.Pool.New(dtype.Float32, rows)
	y = &Var{Value: c.New(x.Value.Shape...)}
	rv := r.overwrite()
	c.Stream.RMSNorm(y.Value, rv, rstd, x.Value, rv, n.Weight.Use.Tensor, n.Eps)
	sum = &Var{Value: rv}
	sum.Keep()
	c.Tape.Defer(func() {
		n.backward(c, sum, y, rstd)
		splitGrad(c, sum, x, r)
	})
	return sum, y
}

// backward gives s, whose norm is y, its gradient.
func (n *RMSNorm) backward(c *Ctx, s, y *Var, rstd *tensor.Tensor) {
	ds, more := s.GradTarget(c, s.Value.Shape)
	var add *tensor.Tensor // the gradient that s has from elsewhere, added in place
	if more {
		add = ds
	}
	n.Weight.addGrad(c, func(dw *tensor.Tensor) {
		c.Stream.RMSNormGrad(ds, dw, y.Grad, s.Value, rstd, n.Weight.Use.Tensor, add)
	})
	c.Pool.Free(rstd)
	y.free(c)
}

// Add is x + r. The sum takes r's memory, so nothing may need r's values any
// more. The sum must be the last use of x; the backward of another panics.
func Add(c *Ctx, x, r *Var) *Var {
	sum := &Var{Value: r.overwrite()}
	c.Stream.Add(sum.Value, sum.Value, x.Value)
	c.Tape.Defer(func() { splitGrad(c, sum, x, r) })
	return sum
}

// splitGrad hands the gradient of sum = x + r on to both and frees sum.
func splitGrad(c *Ctx, sum, x, r *Var) {
	if x.Grad != nil {
		panic("nn: the first term of a sum has another gradient already; use it in the sum last")
	}
	sum.own(c) // two may share memory, not three
	if x.input {
		r.Grad = sum.Grad
	} else {
		share(x, r, sum.Grad)
	}
	sum.Grad = nil
	sum.free(c)
}

func one(name string, p *Param) iter.Seq2[string, *Param] {
	return func(yield func(string, *Param) bool) { yield(name, p) }
}
