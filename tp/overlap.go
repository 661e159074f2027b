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
	pool    *device.Pool
	coming  map[key][]chunk // rows of what is gathered
	leaving map[key][]chunk // rows of what is reduced, in the order in which they lie
}

// NewOverlap makes the stream, and a group for it; all ranks of the grid call it.
func NewOverlap(g *grid.Grid, dev device.Device) (*Overlap, error) {
	c, err := g.Fresh("tp.overlap", Axis)
	if err != nil {
		return nil, fmt.Errorf("tp: %w", err)
	}
	return &Overlap{c, dev.NewStream("tensor-parallel"), device.NewPool(dev), map[key][]chunk{}, map[key][]chunk{}}, nil
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
	ready device.Event // nil: from the start
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
		{[]span{rows(0, rank*n), rows((rank+1)*n, whole.Shape[0])}, o.stream.Record()},
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

// parts are the pieces in which the rows of a product of all ranks' leave, of which each rank gets as many of its own. They lie in its memory
// one behind the other, each as a reduce-scatter wants it. A gradient leaves at once, beside the product of the weight's gradient, which
// follows it. Of an output that nothing follows, most leaves beside the rest: what is not hidden is the last piece, and each has a latency.
func (o *Overlap) parts(which nn.MatMul, rows int) []chunk {
	ranks := o.comm.Size()
	own := rows / ranks
	most := own - own/4
	if which == nn.GradInput || most == own {
		return []chunk{{rows: []span{{0, rows, 0}}}}
	}
	pieces, to := make([]chunk, 2), 0
	for i, s := range [][2]int{{0, most}, {most, own}} {
		for q := range ranks {
			n := s[1] - s[0]
			pieces[i].rows = append(pieces[i].rows, span{q*own + s[0], n, to})
			to += n
		}
	}
	return pieces
}

// scatter adds up what leaves, over ranks, and returns the rank's rows: memory of o.pool, which release takes back.
func (o *Overlap) scatter(c *nn.Ctx, term *tensor.Tensor) (own *tensor.Tensor, ok bool) {
	if o == nil {
		return nil, false
	}
	pieces, ok := o.leaving[where(term)]
	if !ok {
		return nil, false
	}
	delete(o.leaving, where(term))
	term = flat(term)
	own = o.pool.New(term.Type, term.Shape[0]/o.comm.Size(), term.Shape[1])
	from, to := 0, 0
	for _, p := range pieces {
		rows := p.size()
		n := rows / o.comm.Size()
		o.stream.Wait(p.ready)
		o.comm.ReduceScatter(o.stream, comm.T(own.Rows(to, to+n)), comm.T(term.Rows(from, from+rows)), comm.Sum)
		from, to = from+rows, to+n
	}
	c.Stream.Wait(o.stream.Record())
	return own, true
}

// release takes memory of scatter back, once compute's stream is through with it.
func (o *Overlap) release(c *nn.Ctx, t *tensor.Tensor) {
	o.stream.Wait(c.Stream.Record())
	o.pool.Free(t)
}

// multiplier computes a Linear's products, by the rows that come and those that leave.
type multiplier struct {
	*Overlap
	leaves nn.MatMul // of which the rows leave; NumMatMuls: of none
}

// pieces are those of a product whose rows are a's: in which they come or leave, or nil.
func (p multiplier) pieces(c *nn.Ctx, which nn.MatMul, a *tensor.Tensor) (pieces []chunk, leave bool) {
	if which == nn.GradWeight {
		p.settle(c, a)
		return nil, false
	}
	// What a recomputation keeps of its first pass lies as it would without pieces.
	again := which == nn.Output && (c.Mode == nn.FirstPass || c.Mode == nn.Recomputation)
	if rows, _ := a.Matrix(); which == p.leaves && !again && rows%p.comm.Size() == 0 {
		p.settle(c, a)
		return p.parts(which, rows), true
	}
	pieces = p.coming[where(a)]
	delete(p.coming, where(a))
	return pieces, false
}

// multiply is nn.Linear.Multiply.
func (p multiplier) multiply(c *nn.Ctx, which nn.MatMul, dst *tensor.Tensor, a, b tensor.Operand, opts device.MatMulOptions) {
	pieces, leave := p.pieces(c, which, a.Tensor)
	if pieces == nil {
		c.Stream.MatMul(dst, a, b, opts)
		return
	}
	if a.Transposed {
		panic(fmt.Sprintf("tp: the rows of a transposed %v do not follow one another", a))
	}
	from, to := a, flat(dst)
	from.Tensor = flat(a.Tensor)
	opts.Series = device.First
	for i, piece := range pieces {
		if !leave && piece.ready != nil {
			c.Stream.Wait(piece.ready)
		}
		for _, s := range piece.rows {
			if s.n == 0 {
				continue
			}
			c.Stream.MatMul(to.Rows(s.to, s.to+s.n), rowsOf(from, s.lo, s.lo+s.n), b, opts)
			opts.Series = device.Next
		}
		if leave {
			pieces[i].ready = c.Stream.Record()
		}
	}
	if leave {
		p.leaving[where(dst)] = pieces
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
