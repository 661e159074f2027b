// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"iter"
	"slices"

	"octet/dtype"
	"octet/tensor"
)

// Embedding looks rows up in a table [V,D].
type Embedding struct {
	Leaf
	Weight *Param
	// Offset is the first id of the table, and Vocab how many ids there are, where the
	// table is a part of one (package tp): ids outside it give zeros. Vocab 0: all.
	Offset, Vocab int
}

// NewEmbedding describes a table of vocab rows of dim.
func NewEmbedding(vocab, dim int, init Init) *Embedding {
	return &Embedding{Weight: NewParam(init, vocab, dim)}
}

// Params yields the table.
func (e *Embedding) Params() iter.Seq2[string, *Param] { return one("weight", e.Weight) }

// Forward takes ids, int32 [B,S], to [B,S,D].
func (e *Embedding) Forward(c *Ctx, ids *Var) *Var {
	tokens, vocab := ids.Value.Tensor, e.Vocab
	if vocab == 0 {
		vocab = e.Weight.Shape[0]
	}
	y := c.Op(func(y *Var) {
		e.Weight.addGrad(c, func(dtable *tensor.Tensor) { c.Stream.EmbeddingGrad(dtable, y.Grad().Tensor, tokens, e.Offset, vocab) })
	}, append(slices.Clone(ids.Shape()), e.Weight.Shape[1])...)
	c.Stream.Embedding(y.Value.Tensor, e.Weight.Value().Tensor, tokens, e.Offset, vocab)
	return y
}

// RMSNorm divides by the root of the mean square and multiplies by a weight
// [D] (arXiv 1910.07467).
type RMSNorm struct {
	Leaf
	Weight *Param
	Eps    float32
	// Reader is the slot of the module that casts what Forward returns, if one does: where that begins
	// with an amax, the norm takes it besides. nil: nobody casts it.
	Reader *Module
}

// NewRMSNorm describes a norm over dim; its weight starts at 1.
func NewRMSNorm(dim int, eps float32) *RMSNorm {
	return &RMSNorm{Weight: NewParam(Constant(1), dim), Eps: eps}
}

// Params yields the weight.
func (n *RMSNorm) Params() iter.Seq2[string, *Param] { return one("weight", n.Weight) }

// Forward norms the last dimension of x.
func (n *RMSNorm) Forward(c *Ctx, x *Var) *Var {
	rstd := c.Pool.New(dtype.Float32, x.Rows())
	y := c.Op(func(y *Var) {
		n.backward(c, x, y, rstd)
		if !x.NeedsGrad() {
			x.FreeGrad(c)
		}
	}, x.Shape()...)
	c.Stream.RMSNorm(y.Value.Tensor, nil, rstd, x.Keep(), nil, n.Weight.Value().Tensor, n.Eps, y.amaxFor(c, n.Reader))
	c.saved(rstd)
	return y
}

// AddForward is sum = x + r and the norm of sum, in one pass.
func (n *RMSNorm) AddForward(c *Ctx, x, r *Var) (sum, y *Var) {
	rstd := c.Pool.New(dtype.Float32, x.Rows())
	sum = c.sumOf(x, r)
	y = c.Op(func(y *Var) { n.backward(c, sum, y, rstd) }, x.Shape()...)
	c.Stream.RMSNorm(y.Value.Tensor, sum.Keep(), rstd, x.Value.Tensor, r.Value.Tensor, n.Weight.Value().Tensor, n.Eps, y.amaxFor(c, n.Reader))
	c.saved(rstd)
	return sum, y
}

// AddNorm is sum = x + r and the norm of sum, in one pass where norm is an RMSNorm that
// nothing decorates; to the same bits either way.
func AddNorm(c *Ctx, norm Module, x, r *Var) (sum, y *Var) {
	if n, ok := norm.(*RMSNorm); ok {
		return n.AddForward(c, x, r)
	}
	sum = Add(c, x, r)
	return sum, norm.Forward(c, sum)
}

// backward gives s, whose norm is y, its gradient.
func (n *RMSNorm) backward(c *Ctx, s, y *Var, rstd *tensor.Tensor) {
	ds, add := s.sumTarget(c)
	n.Weight.withGrad(c, func(dw *tensor.Tensor) {
		c.Stream.RMSNormGrad(ds, dw, y.Grad().Tensor, s.Value.Tensor, rstd, n.Weight.Value().Tensor, add, s.gradAmax(c))
	})
	c.Pool.Free(rstd)
}

// LayerNorm takes the mean from each vector, divides by the root of its variance,
// multiplies by a weight [D] and adds a bias [D] (arXiv 1607.06450).
type LayerNorm struct {
	Leaf
	Weight, Bias *Param
	Eps          float32
}

// NewLayerNorm describes a norm over dim; its weight starts at 1, its bias at 0.
func NewLayerNorm(dim int, eps float32) *LayerNorm {
	return &LayerNorm{Weight: NewParam(Constant(1), dim), Bias: NewParam(Constant(0), dim), Eps: eps}
}

// Params yields weight and bias.
func (n *LayerNorm) Params() iter.Seq2[string, *Param] {
	return func(yield func(string, *Param) bool) { _ = yield("weight", n.Weight) && yield("bias", n.Bias) }
}

// Forward norms the last dimension of x.
func (n *LayerNorm) Forward(c *Ctx, x *Var) *Var {
	mean, rstd := c.Pool.New(dtype.Float32, x.Rows()), c.Pool.New(dtype.Float32, x.Rows())
	y := c.Op(func(y *Var) {
		dx, add := x.sumTarget(c)
		dy := y.Grad().Tensor
		n.Weight.withGrad(c, func(dw *tensor.Tensor) {
			c.Stream.LayerNormGrad(dx, dw, dy, x.Value.Tensor, mean, rstd, n.Weight.Value().Tensor, add)
		})
		n.Bias.addGrad(c, func(db *tensor.Tensor) { c.Stream.BiasGrad(db, dy) })
		c.Pool.Free(mean)
		c.Pool.Free(rstd)
		if !x.NeedsGrad() {
			x.FreeGrad(c)
		}
	}, x.Shape()...)
	c.Stream.LayerNorm(y.Value.Tensor, mean, rstd, x.Keep(), n.Weight.Value().Tensor, n.Bias.Value().Tensor, n.Eps)
	c.saved(mean)
	c.saved(rstd)
	return y
}

// Add is x + r.
func Add(c *Ctx, x, r *Var) *Var {
	sum := c.sumOf(x, r)
	c.Stream.Add(sum.Value.Tensor, r.Value.Tensor, x.Value.Tensor)
	return sum
}

// sumOf begins sum = x + r, which hands its gradient on to both.
func (c *Ctx) sumOf(x, r *Var) *Var {
	sum := c.Op(func(sum *Var) {
		x.AddGrad(c, sum)
		r.AddGrad(c, sum)
	}, x.Shape()...)
	sum.amaxOfGrad = x.amaxOfGrad || r.amaxOfGrad
	return sum
}

func one(name string, p *Param) iter.Seq2[string, *Param] {
	return func(yield func(string, *Param) bool) { yield(name, p) }
}
