// SPDX-License-Identifier: Apache-2.0

package grid

import (
	"fmt"
	"slices"

	"octet/comm"
	"octet/device"
	"octet/dtensor"
	"octet/tensor"
)

// Tensor is a tensor that is spread over a grid, as one rank has it.
type Tensor struct {
	Layout dtensor.Layout
	Local  *tensor.Tensor // the elements of Layout.Box, or a term of what is pending there
}

// FromLocal is the tensor of which each rank has its local part; memory stays the
// caller's. The layout's shape is that of the whole, which parts of uneven sizes do not tell.
func (g *Grid) FromLocal(local *tensor.Tensor, l dtensor.Layout) Tensor {
	if box := l.Box(g.World.Rank()); !l.Mesh().Equal(g.Mesh) || !slices.Equal(local.Shape, box.Shape()) {
		panic(fmt.Sprintf("grid: %v is not rank %d's part %v of shape %v under %v on mesh %v", local, g.World.Rank(), box, l.Shape(), l, g.Mesh))
	}
	return Tensor{l, local}
}

// Distribute spreads the whole that rank 0 has: it is broadcast in place, and each rank
// keeps its part, in memory of pool unless that is all of it.
func (g *Grid) Distribute(s device.Stream, pool *device.Pool, whole *tensor.Tensor, l dtensor.Layout) (Tensor, error) {
	g.World.Broadcast(s, whole, 0)
	return g.Redistribute(s, pool, g.FromLocal(whole, dtensor.NewLayout(g.Mesh, whole.Shape)), l)
}

// FullTensor is all of t on every rank.
func (g *Grid) FullTensor(s device.Stream, pool *device.Pool, t Tensor) (Tensor, error) {
	return g.Redistribute(s, pool, t, dtensor.NewLayout(g.Mesh, t.Layout.Shape()))
}

// Redistribute is t in another layout, by the plan of dtensor.NewPlan, whose errors it has.
func (g *Grid) Redistribute(s device.Stream, pool *device.Pool, t Tensor, to dtensor.Layout) (Tensor, error) {
	p, err := dtensor.NewPlan(t.Layout, to, t.Local.Type)
	if err != nil {
		return Tensor{}, err
	}
	return Tensor{to, g.Run(s, pool, p, t.Local)}, nil
}

// Run takes the rank's part of a tensor the way of a plan: memory of pool, the stream's,
// that is the caller's to free, or local itself where there is nothing to do. Local stays
// as it is.
func (g *Grid) Run(s device.Stream, pool *device.Pool, p dtensor.Plan, local *tensor.Tensor) *tensor.Tensor {
	at := local
	for _, step := range p.Steps {
		r := run{s, pool, g.Axis(step.Axis), step, g.World.Rank()}
		next := r.run(at)
		if at != local {
			pool.Free(at)
		}
		at = next
	}
	return at
}

// run is one step on one rank.
type run struct {
	s    device.Stream
	pool *device.Pool
	axis comm.Comm
	step dtensor.Step
	rank int
}

func (r run) run(x *tensor.Tensor) *tensor.Tensor {
	switch before, after := r.step.Before.Box(r.rank), r.step.After.Box(r.rank); r.step.Kind {
	case dtensor.AllGather:
		return r.gather(x, before, after)
	case dtensor.AllToAll:
		return r.exchange(x, before, after)
	case dtensor.ReduceScatter:
		return r.reduce(x, before, after)
	case dtensor.AllReduce:
		y := r.pool.New(x.Type, x.Shape...)
		r.s.Copy(y, x)
		r.axis.AllReduce(r.s, comm.T(y), r.op())
		return y
	case dtensor.Cut:
		y := r.pool.New(x.Type, after.Shape()...)
		r.copy(y, after, x, before)
		return y
	case dtensor.Keep:
		y := r.pool.New(x.Type, x.Shape...)
		if op, _ := r.step.After.Placement(r.step.Axis).IsPartial(); op == dtensor.Sum && r.axis.Rank() > 0 {
			r.s.Zero(y)
		} else {
			r.s.Copy(y, x)
		}
		return y
	default: // dtensor.Pad
		y := r.pool.New(x.Type, after.Shape()...)
		r.s.Zero(y)
		r.copy(y, after, x, before)
		return y
	}
}

// op is how comm combines what is pending.
func (r run) op() comm.Op {
	op, _ := r.step.Before.Placement(r.step.Axis).IsPartial()
	return map[dtensor.Reduce]comm.Op{dtensor.Sum: comm.Sum, dtensor.Max: comm.Max}[op]
}

// In a collective a slot begins with a box's elements; what follows makes all slots equally
// large and is never read.

// slots is memory of a slot for each rank of the axis.
func (r run) slots(like *tensor.Tensor) (all *tensor.Tensor, size int) {
	size = 1
	for _, n := range r.step.Slot(r.rank) {
		size *= n
	}
	return r.pool.New(like.Type, r.axis.Size()*size), size
}

// peers are the ranks of the axis, in its order.
func (r run) peers() []int {
	ranks, _, _ := r.step.Before.Mesh().Group(r.rank, r.step.Axis)
	return ranks
}

// slot is the memory of a box in a rank's slot.
func slot(all *tensor.Tensor, size, at int, b dtensor.Box) *tensor.Tensor {
	return all.Rows(at*size, at*size+b.Numel())
}

func (r run) gather(x *tensor.Tensor, before, after dtensor.Box) *tensor.Tensor {
	all, size := r.slots(x)
	mine := all.Rows(r.axis.Rank()*size, (r.axis.Rank()+1)*size)
	r.copy(mine, before, x, before)
	r.axis.AllGather(r.s, comm.T(all), comm.T(mine))
	if dim, _ := r.step.Before.Placement(r.step.Axis).IsShard(); dim == 0 { // the slots, of which late ones only are not full, are what is wanted
		return all.Rows(0, after.Numel()).View(after.Shape()...)
	}
	y := r.pool.New(x.Type, after.Shape()...)
	for q, rank := range r.peers() {
		box := r.step.Before.Box(rank)
		r.copy(y, after, slot(all, size, q, box), box)
	}
	r.pool.Free(all)
	return y
}

func (r run) exchange(x *tensor.Tensor, before, after dtensor.Box) *tensor.Tensor {
	out, size := r.slots(x)
	in, _ := r.slots(x)
	y := r.pool.New(x.Type, after.Shape()...)
	for q, rank := range r.peers() {
		if box, ok := before.Intersect(r.step.After.Box(rank)); ok {
			r.copy(slot(out, size, q, box), box, x, before)
		}
	}
	r.axis.AllToAll(r.s, comm.T(in), comm.T(out))
	for q, rank := range r.peers() {
		if box, ok := r.step.Before.Box(rank).Intersect(after); ok {
			r.copy(y, after, slot(in, size, q, box), box)
		}
	}
	r.pool.Free(out)
	r.pool.Free(in)
	return y
}

func (r run) reduce(x *tensor.Tensor, before, after dtensor.Box) *tensor.Tensor {
	all, size := r.slots(x)
	for q, rank := range r.peers() {
		box := r.step.After.Box(rank)
		r.copy(slot(all, size, q, box), box, x, before)
		r.s.Zero(all.Rows(q*size+box.Numel(), (q+1)*size))
	}
	sum := r.pool.New(x.Type, size)
	r.axis.ReduceScatter(r.s, comm.T(sum), comm.T(all), r.op())
	r.pool.Free(all)
	return sum.Rows(0, after.Numel()).View(after.Shape()...)
}

// copy writes what two boxes share from one's memory to the other's.
func (r run) copy(dst *tensor.Tensor, dstBox dtensor.Box, src *tensor.Tensor, srcBox dtensor.Box) {
	d, s := dst.View(dst.Numel()), src.View(src.Numel())
	dstBox.Overlap(srcBox, func(inDst, inSrc, n int) {
		r.s.Copy(d.Rows(inDst, inDst+n), s.Rows(inSrc, inSrc+n))
	})
}
