// SPDX-License-Identifier: Apache-2.0

package tp

import (
	"fmt"

	"octet/comm"
	"octet/comm/grid"
	"octet/device"
	"octet/nn"
	"octet/tensor"
)

// Overlap moves activations beside the products that read or make them (asynchronous tensor parallelism, torch's
// micro-pipelined matmuls): a rank multiplies its own rows while those of the others come; the rows of a product that is to be reduced leave
// while others are multiplied. Forward and backward, it is four pipelines:
//
//	all-gather ─▶ x·Wᵀ      the output of column-parallel layers
//	all-gather ─▶ dy·W      the gradient of a row-parallel layer's input
//	x·Wᵀ ─▶ reduce-scatter  the output of row-parallel layers
//	dy·W ─▶ reduce-scatter  the gradient of column-parallel layers' input
//
// A row of a product and a sum over ranks are what they are without it. What is cast behind the gather goes the plain way, and so do
// all-reduces.
type Overlap struct {
	comm    comm.Comm // of the tensor axis, for the stream
	stream  device.Stream
	coming  map[key][]chunk  // rows of what is gathered
	leaving map[key]*leaving // rows of what is reduced
}

// NewOverlap makes the stream, and a group for it; all ranks of the grid call it.
func NewOverlap(g *grid.Grid, dev device.Device) (*Overlap, error) {
	c, err := g.Fresh("tp.overlap", Axis)
	if err != nil {
		return nil, fmt.Errorf("tp: %w", err)
	}
	return &Overlap{c, dev.NewStream("tensor-parallel"), map[key][]chunk{}, map[key]*leaving{}}, nil
}

// Sync waits for what is on its way, and returns the first error.
func (o *Overlap) Sync() error {
	if o == nil {
		return nil
	}
	return o.stream.Sync()
}

// where is the memory by which a value is known.
func where(t *tensor.Tensor) key { return key{t.Buf, t.Off} }

// chunk is some rows, and when they are there.
type chunk struct {
	rows  []span
	into  *tensor.Tensor // what is made of them; nil: the product's memory
	ready device.Event   // nil: from the start
}

func (p chunk) size() (rows int) {
	for _, s := range p.rows {
		rows += s.n
	}
	return rows
}

// span is n rows, or none, from row lo of one matrix to row to of another.
type span struct{ lo, n, to int }

// flat is t as rows of its last dimension.
func flat(t *tensor.Tensor) *tensor.Tensor {
	rows, cols := t.Matrix()
	return t.View(rows, cols)
}

// gather starts to bring the rows of all ranks, of which sent are this one's, into whole, memory of compute's stream.
func (o *Overlap) gather(c *nn.Ctx, whole, sent *tensor.Tensor) {
	whole, sent = flat(whole), flat(sent)
	n, rank := sent.Shape[0], o.comm.Rank()
	c.Stream.Copy(whole.Rows(rank*n, (rank+1)*n), sent)
	o.stream.Wait(c.Stream.Record())
	o.comm.AllGather(o.stream, comm.T(whole), comm.T(whole.Rows(rank*n, (rank+1)*n)))
	rows := func(lo, hi int) span { return span{lo, hi - lo, lo} }
	o.coming[where(whole)] = []chunk{
		{rows: []span{rows(rank*n, (rank+1)*n)}},
		{rows: []span{rows(0, rank*n), rows((rank+1)*n, whole.Shape[0])}, ready: o.stream.Record()},
	}
}

// settle has compute's stream wait for all rows of a value, if some are still to come.
func (o *Overlap) settle(c *nn.Ctx, t *tensor.Tensor) {
	if o == nil || t == nil {
		return
	}
	for _, p := range o.coming[where(t)] {
		if p.ready != nil {
			c.Stream.Wait(p.ready)
		}
	}
	delete(o.coming, where(t))
}

// leaving is a product of all ranks' rows, of which each gets as many of its own, as a sum over ranks.
type leaving struct {
	own    *tensor.Tensor // the sum, memory of compute's stream since before the product
	pieces []chunk        // in the order in which they are multiplied, and lie
	swap   bool           // the first piece is the other rank's, the second own's first term
}

// leave cuts a product with rows for every rank. A gradient leaves in one piece, beside the product of the weight's gradient, which follows
// it. Nothing follows an output. Of two ranks each multiplies the other's rows first, which are on their way while it multiplies its
// own; more than two add up most of them, in float32, beside the rest: what is not hidden is the last piece, and each has a latency.
func (o *Overlap) leave(c *nn.Ctx, which nn.MatMul, dst *tensor.Tensor) *leaving {
	rows, cols := dst.Matrix()
	ranks, me, own := o.comm.Size(), o.comm.Rank(), rows/o.comm.Size()
	before := o.leaving[where(dst)]
	if before == nil { // of several layers with one input the last one's gradient is the sum
		before = &leaving{own: c.Pool.New(dst.Type, own, cols)}
	}
	l := &leaving{own: before.own}
	o.leaving[where(dst)] = l
	most := own - own/4
	switch {
	case which == nn.GradInput:
		l.pieces = []chunk{{rows: []span{{0, rows, 0}}}}
		return l
	case ranks == 2:
		other := 1 - me
		l.pieces = []chunk{{rows: []span{{other * own, own, me * own}}}, {rows: []span{{me * own, own, 0}}, into: l.own}}
		l.swap = true
		return l
	}
	l.pieces = make([]chunk, 2)
	to := 0
	for i, s := range [][2]int{{0, most}, {most, own}} {
		for q := range ranks {
			n := s[1] - s[0]
			l.pieces[i].rows = append(l.pieces[i].rows, span{q*own + s[0], n, to})
			to += n
		}
	}
	return l
}

// scatter adds up what leaves, over ranks, and returns the rank's rows: memory of compute's stream, or nil if term does not leave.
func (o *Overlap) scatter(c *nn.Ctx, term *tensor.Tensor) (own *tensor.Tensor) {
	if o == nil {
		return nil
	}
	l := o.leaving[where(term)]
	if l == nil {
		return nil
	}
	delete(o.leaving, where(term))
	term = flat(term)
	if l.swap {
		o.exchange(c, l, term)
		return l.own
	}
	from, to := 0, 0
	for _, p := range l.pieces {
		rows := p.size()
		n := rows / o.comm.Size()
		if n == 0 {
			continue
		}
		o.stream.Wait(p.ready)
		o.comm.ReduceScatter(o.stream, comm.T(l.own.Rows(to, to+n)), comm.T(term.Rows(from, from+rows)), comm.Sum)
		from, to = from+rows, to+n
	}
	c.Stream.Wait(o.stream.Record())
	return l.own
}

// exchange gives the other rank of two its rows of a term, of which those in the slot of the rank are made, and adds what it gives to the
// rank's own, in the order of ranks.
func (o *Overlap) exchange(c *nn.Ctx, l *leaving, term *tensor.Tensor) {
	n, me := l.own.Shape[0], o.comm.Rank()
	slot := func(rank int) *tensor.Tensor { return term.Rows(rank*n, (rank+1)*n) }
	o.stream.Wait(l.pieces[0].ready)
	o.comm.AllGather(o.stream, comm.T(term), comm.T(slot(me)))
	c.Stream.Wait(o.stream.Record())
	terms := [2]*tensor.Tensor{slot(0), slot(1)}
	terms[me] = l.own
	c.Stream.Add(l.own, terms[0], terms[1])
}

// multiplier computes a Linear's products, by the rows that come and those that leave.
type multiplier struct {
	*Overlap
	leaves nn.MatMul // of which the rows leave; NumMatMuls: of none
}

// sends reports whether the rows of a product leave.
func (p multiplier) sends(c *nn.Ctx, which nn.MatMul, dst *tensor.Tensor) bool {
	// What a recomputation keeps of its first pass lies as it would without pieces.
	again := which == nn.Output && (c.Mode == nn.FirstPass || c.Mode == nn.Recomputation)
	rows, _ := dst.Matrix()
	return which == p.leaves && !again && rows%p.comm.Size() == 0
}

// multiply is nn.Linear.Multiply.
func (p multiplier) multiply(c *nn.Ctx, which nn.MatMul, dst *tensor.Tensor, a, b tensor.Operand, opts device.MatMulOptions) {
	var pieces []chunk
	leave := p.sends(c, which, dst)
	switch {
	case leave:
		p.settle(c, a.Tensor)
		pieces = p.leave(c, which, dst).pieces
	case which == nn.GradWeight:
		p.settle(c, a.Tensor)
	default:
		pieces = p.coming[where(a.Tensor)]
		delete(p.coming, where(a.Tensor))
	}
	if pieces == nil {
		c.Stream.MatMul(dst, a, b, opts)
		return
	}
	if a.Transposed {
		panic(fmt.Sprintf("tp: the rows of a transposed %v do not follow one another", a))
	}
	from, whole := a, flat(dst)
	from.Tensor = flat(a.Tensor)
	if len(pieces) > 1 {
		opts.Series = device.First
	}
	for i, piece := range pieces {
		if piece.ready != nil {
			c.Stream.Wait(piece.ready)
		}
		to := whole
		if piece.into != nil {
			to = piece.into
		}
		for _, s := range piece.rows {
			if s.n == 0 {
				continue
			}
			c.Stream.MatMul(to.Rows(s.to, s.to+s.n), rowsOf(from, s.lo, s.lo+s.n), b, opts)
			if opts.Series == device.First {
				opts.Series = device.Next
			}
		}
		if leave {
			pieces[i].ready = c.Stream.Record()
		}
	}
}

// rowsOf is some rows of an operand, with their scales where each has its own.
func rowsOf(o tensor.Operand, lo, hi int) tensor.Operand {
	if o.Granularity() == tensor.PerRow {
		for _, s := range []**tensor.Tensor{&o.Scale, &o.Inv} {
			if *s != nil {
				*s = (*s).Rows(lo, hi)
			}
		}
	}
	o.Tensor = o.Tensor.Rows(lo, hi)
	return o
}
