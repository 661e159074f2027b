// SPDX-License-Identifier: Apache-2.0

package tp

import (
	"fmt"
	"slices"

	"octet/comm"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// group is the ranks of the axis, with what moves activations among them. A value [..., D] is
// rows: all dimensions but the last are one.
type group struct {
	comm.Comm
	overlap *Overlap // nil: collectives are work of compute's stream
}

// rows is how many rows of n each rank has.
func (g group) rows(n int) int {
	if n%g.Size() != 0 {
		panic(fmt.Sprintf("tp: %d tokens do not divide among %d ranks", n, g.Size()))
	}
	return n / g.Size()
}

// enter is x, which all ranks have alike, where the gradients of each are a term of its own:
// the sum goes back.
func (g group) enter(c *nn.Ctx, x *nn.Var) *nn.Var {
	y := c.Alias(x, func(y *nn.Var) {
		dx, _ := y.GradTarget(c)
		g.AllReduce(c.Stream, comm.T(dx), comm.Sum)
		x.AddGrad(c, y)
	})
	y.Pending = true
	g.note(y.Value.Tensor, replicate, Value{At: replicate, Pending: true})
	return y
}

// gather is all of x, of which each rank has some rows, for the layers that read it: in float8
// where they are of one mind. The gradients of y are terms: each rank gets the sum of its rows.
func (g group) gather(c *nn.Ctx, x *nn.Var, readers []*nn.Linear) *nn.Var {
	sent := g.shipIn(c, x, readers)
	y := g.gathered(c, x, sent, g.readAsSent(c, sent, readers), func(y *nn.Var) {
		if own := g.overlap.scatter(c, y.Grad().Tensor); own != nil {
			receive(c, x, own)
			return
		}
		x.Receive(c, func(dx *tensor.Tensor) {
			g.ReduceScatter(c.Stream, comm.T(dx), comm.T(y.Grad().Tensor), comm.Sum)
		})
	})
	y.Pending = true
	g.note(y.Value.Tensor, replicate, Value{At: replicate, Pending: true})
	return y
}

// leave is all of x, of which each rank has some rows, for modules that all ranks compute alike, gradients too.
func (g group) leave(c *nn.Ctx, x *nn.Var) *nn.Var {
	return g.gathered(c, x, x.Value, false, func(y *nn.Var) {
		x.Receive(c, func(dx *tensor.Tensor) { c.Stream.Copy(dx, g.ownRows(y.Grad().Tensor, dx.Shape)) })
	})
}

// readAsSent reports whether layers read what is sent as it comes, row by row: nobody casts it before, or makes another layout of it.
func (g group) readAsSent(c *nn.Ctx, sent tensor.Operand, readers []*nn.Linear) bool {
	if g.overlap == nil {
		return false
	}
	if sent.Type.IsFloat8() {
		by, ok := readers[0].Caster.(nn.Spreader) // who has shipped it
		return ok && by.AsShipped(c)
	}
	return !slices.ContainsFunc(readers, func(l *nn.Linear) bool { return l.Caster != nn.Caster(nn.HighPrecision{}) })
}

// gathered is the rows that all ranks send of x, each its own cast of them; apart: they come while they are read.
func (g group) gathered(c *nn.Ctx, x *nn.Var, sent tensor.Operand, apart bool, back func(y *nn.Var)) *nn.Var {
	width := x.Shape()[len(x.Shape())-1]
	shape := append(slices.Clone(c.Tokens), width)
	if rows := x.Rows() * g.Size(); tensor.Numel(c.Tokens) != rows {
		shape = []int{rows, width}
	}
	return c.OpTo(back, g.all(c, sent, x.Value, shape, apart))
}

// all gathers the rows that each rank sends, which are kept or have their own memory, and their scale: the one that all know, or
// the reciprocals of one a row. Apart: the rows come while they are read.
func (g group) all(c *nn.Ctx, sent, kept tensor.Operand, shape []int, apart bool) tensor.Operand {
	whole := sent
	whole.Tensor, whole.Amax = c.Pool.New(sent.Type, shape...), nil // which is of the rank's rows
	var to, from []*tensor.Tensor
	if sent.Granularity() == tensor.PerRow {
		whole.Scale, whole.Inv = nil, c.Pool.New(dtype.Float32, sent.Inv.Dim(0)*g.Size(), 1)
		to, from = comm.T(whole.Inv), comm.T(sent.Inv)
		c.Pool.Free(sent.Scale)
		defer c.Pool.Free(sent.Inv)
	}
	if apart {
		g.overlap.gather(c, whole.Tensor, sent.Tensor)
	} else {
		to, from = append(to, whole.Tensor), append(from, sent.Tensor)
	}
	if len(to) > 0 {
		g.AllGather(c.Stream, to, from)
	}
	if sent.Tensor != kept.Tensor {
		c.Pool.Free(sent.Tensor)
	}
	return whole
}

// shipIn is how x travels to layers that read it whole.
func (g group) shipIn(c *nn.Ctx, x *nn.Var, readers []*nn.Linear) tensor.Operand {
	var by nn.Spreader
	for i, l := range readers {
		other, ok := l.Caster.(nn.Spreader)
		switch {
		case !ok:
			return x.Value
		case i == 0:
			by = other
		case !other.Serves(by, nn.In, nn.In) || !other.Serves(by, nn.InForGW, nn.InForGW):
			return x.Value
		}
	}
	if by == nil {
		return x.Value
	}
	sent, ok := by.Ship(c, x.Value, nn.In, g)
	if !ok {
		return x.Value
	}
	for _, l := range readers[1:] {
		if s, ok := l.Caster.(nn.Sharer); ok {
			s.Took(c, by, nn.In, nn.InForGW)
		}
	}
	return sent
}

// scatter is the rank's rows of x, which all ranks have alike.
func (g group) scatter(c *nn.Ctx, x *nn.Var) *nn.Var {
	y := g.scattered(c, x, nil, g.ownNew(c, x))
	g.note(x.Value.Tensor, replicate, Value{})
	c.Stream.Copy(y.Value.Tensor, g.ownRows(x.Value.Tensor, y.Shape()))
	g.note(y.Value.Tensor, replicate, Value{At: byRows})
	return y
}

// scatterSum is the rank's rows of the sum of x over ranks. Where x is what a Linear has computed, the
// gradient travels as that one reads it.
func (g group) scatterSum(c *nn.Ctx, x *nn.Var, of *nn.Linear) *nn.Var {
	if own := g.overlap.scatter(c, x.Value.Tensor); own != nil {
		return g.scattered(c, x, of, own)
	}
	y := g.scattered(c, x, of, g.ownNew(c, x))
	g.ReduceScatter(c.Stream, comm.T(y.Value.Tensor), comm.T(x.Value.Tensor), comm.Sum)
	return y
}

// receive gives x a gradient, or adds it to the one it has: memory of c.Pool, which is x's or freed.
func receive(c *nn.Ctx, x *nn.Var, own *tensor.Tensor) {
	own = own.View(x.Shape()...)
	switch {
	case !x.NeedsGrad():
	case x.Grad().Tensor == nil:
		x.SetGrad(own)
		return
	default:
		dx, _ := x.GradTarget(c)
		c.Stream.Add(dx, dx, own)
	}
	c.Pool.Free(own)
}

// ownNew is memory for the rank's rows of x.
func (g group) ownNew(c *nn.Ctx, x *nn.Var) *tensor.Tensor {
	return c.New(g.rows(x.Rows()), x.Shape()[len(x.Shape())-1])
}

// scattered is a Var of the rank's rows of x, which are, or will be, own.
func (g group) scattered(c *nn.Ctx, x *nn.Var, of *nn.Linear, own *tensor.Tensor) *nn.Var {
	c.Tokens = x.Shape()[:len(x.Shape())-1]
	return c.OpTo(func(y *nn.Var) {
		if of != nil {
			if by, ok := of.Caster.(nn.Spreader); ok {
				if sent, ok := by.Ship(c, y.Grad(), nn.GradOut, g); ok {
					x.SetScaledGrad(g.all(c, sent, y.Grad(), x.Shape(), g.gradAsSent(c, sent, of)))
					return
				}
			}
			if g.gradAsSent(c, y.Grad(), of) && x.Grad().Tensor == nil {
				x.SetScaledGrad(g.all(c, y.Grad(), y.Grad(), x.Shape(), true))
				return
			}
		}
		x.Receive(c, func(dx *tensor.Tensor) { g.AllGather(c.Stream, comm.T(dx), comm.T(y.Grad().Tensor)) })
	}, tensor.Operand{Tensor: own})
}

// gradAsSent is readAsSent of a gradient: the layer's last product, which needs all of it, waits.
func (g group) gradAsSent(c *nn.Ctx, sent tensor.Operand, of *nn.Linear) bool {
	return g.readAsSent(c, sent, []*nn.Linear{of}) && !of.Weight.Frozen()
}

// sum is the sum of x over ranks, on each.
func (g group) sum(c *nn.Ctx, x *nn.Var) *nn.Var {
	y := c.Op(func(y *nn.Var) { x.AddGrad(c, y) }, x.Shape()...)
	c.Stream.Copy(y.Value.Tensor, x.Value.Tensor)
	g.AllReduce(c.Stream, comm.T(y.Value.Tensor), comm.Sum)
	return y
}

// ownRows are the rank's rows of x, in a shape that has so many elements.
func (g group) ownRows(x *tensor.Tensor, shape []int) *tensor.Tensor {
	n := tensor.Numel(shape)
	return x.View(x.Numel()).Rows(g.Rank()*n, (g.Rank()+1)*n).View(shape...)
}
