// SPDX-License-Identifier: Apache-2.0

package fsdp

import (
	"fmt"
	"slices"

	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// unit gathers the parameters of the module it decorates around its forward
// and its backward: a module that fully_shard was called on, and its FSDPParamGroup.
type unit struct {
	nn.Leaf
	nn.NoParams
	fsdp   *FSDP
	name   string
	inner  nn.Module
	params []*nn.Param
	keep   bool // the root unit: never freed between forward and backward

	whole   []nn.Whole    // lent to params between gather and free
	parcels []comm.Parcel // gathered or on their way; empty when freed
	writes  uint64        // to params, when the parcels were packed
	ready   device.Event  // on AG: the parcels are complete
	reduced bool          // a backward of this step has run: Grad holds the gradient
	running int           // forwards whose backward is to come
	shared  bool          // the gradient is that of all replicas, or about to be

	travels  [][]tensor.Spec  // what of each parameter is gathered: the whole shapes
	grads    [][]int          // the shape of each whole gradient, with padding
	dst, src []*tensor.Tensor // the lists of a call
}

// layout notes the shapes, once the shards have theirs.
func (u *unit) layout(size int) {
	for _, p := range u.params {
		specs := slices.Clone(p.Wire.Sends(p.Shard.Shape))
		for i, spec := range specs {
			specs[i].Shape = wholeShape(spec.Shape, size)
		}
		u.travels = append(u.travels, specs)
		u.grads = append(u.grads, wholeShape(p.Shard.Shape, size))
	}
}

var _ nn.Decorator = (*unit)(nil)

// Inner is the decorated module: its parameters keep their names.
func (u *unit) Inner() *nn.Module { return &u.inner }

// Forward gathers, runs and frees; the backward it defers does the same, and
// reduces in between. The tape runs backwards, so what comes first here is
// deferred for the end.
func (u *unit) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	if !u.fsdp.begun {
		panic(fmt.Sprintf("fsdp: Forward of unit %s outside a microbatch: call FSDP.Begin first (parallel.Model.Step and Eval do)", named(u.name)))
	}
	f, p := u.fsdp, u.fsdp.pass
	eval := c.Mode == nn.Eval
	u.unshard(c, eval)
	if c.Mode != nn.Recomputation { // of a module around the unit: backward knows the unit's place
		p.units = append(p.units, u)
		if next := f.after(u); next != nil {
			next.unshard(c, eval)
		}
	}
	u.use(c)
	if !c.Mode.Defers() {
		y := nn.Scoped(c, u.inner, x)
		if eval || u.reshardsAfterForward() {
			u.reshard(c)
		}
		return y
	}
	u.running++
	c.Tape.Defer(func() {
		u.reduce(c)
		u.reshard(c)
	})
	y := u.inner.Forward(c, x)
	c.Tape.Defer(func() {
		u.unshard(c, false)
		if before := p.before(u); before != nil {
			before.unshard(c, false)
		}
		u.use(c)
		u.allocGrads(c)
	})
	if c.Mode == nn.Train && u.reshardsAfterForward() {
		u.reshard(c)
	}
	return y
}

// after is the unit that ran after u in the last forward.
func (f *FSDP) after(u *unit) *unit {
	at := len(f.pass.units)
	if at < len(f.order) && f.order[at-1] == u {
		return f.order[at]
	}
	return nil
}

// before is the unit whose backward comes after u's.
func (p *pass) before(u *unit) *unit {
	for i := len(p.units) - 1; i > 0; i-- {
		if p.units[i] == u {
			return p.units[i-1]
		}
	}
	return nil
}

func (u *unit) reshardsAfterForward() bool {
	f := u.fsdp
	switch f.opts.Reshard {
	case ReshardAlways:
		return true
	case ReshardNever:
		return false
	}
	// The unit that runs last is needed first in backward.
	return !u.keep && f.order[len(f.order)-1] != u
}

// unshard starts the gather on AG, unless the parameters are there or on their
// way. Every shard is packed into its place among what is gathered.
func (u *unit) unshard(c *nn.Ctx, eval bool) {
	writes := writesTo(u.params)
	if len(u.parcels) > 0 {
		if u.writes == writes && u.parcels[0].Eval == eval {
			return
		}
		u.reshard(c) // gathered ahead of another pass, which did not come to the unit
	}
	u.writes = writes
	f := u.fsdp
	size, rank := f.gather.Size(), f.gather.Rank()
	u.dst, u.src = u.dst[:0], u.src[:0]
	for i, p := range u.params {
		first := len(u.dst)
		for _, spec := range u.travels[i] {
			whole, rows := f.agPool.New(spec.Type, spec.Shape...), spec.Shape[0]/size
			u.dst, u.src = append(u.dst, whole), append(u.src, whole.Rows(rank*rows, (rank+1)*rows))
		}
		parcel := comm.Parcel{Ship: u.src[first:], Eval: eval}
		p.Wire.Pack(f.ag, f.agPool, f.scales, &parcel, p.Shard)
		parcel.Ship = u.dst[first:] // stays as it is as long as there are parcels
		u.parcels = append(u.parcels, parcel)
	}
	f.gather.AllGather(f.ag, u.dst, u.src)
	u.ready = f.ag.Record()
}

// writesTo is how often parameters were written to, all together.
func writesTo(params []*nn.Param) (n uint64) {
	for _, p := range params {
		n += p.Version()
	}
	return n
}

// wholeShape is the shape of size shards, one after the other.
func wholeShape(shard []int, size int) []int {
	return append([]int{shard[0] * size}, shard[1:]...)
}

// use makes c's stream wait for the gather and lends the parameters their values.
func (u *unit) use(c *nn.Ctx) {
	c.Stream.Wait(u.ready)
	for i, p := range u.params {
		u.whole[i] = nn.Whole{Value: p.Wire.Unpack(c.Stream, u.parcels[i], p.Shape[0])}
		p.Lend(&u.whole[i])
	}
}

// reshard frees the gathered parameters once c's stream is through with them.
func (u *unit) reshard(c *nn.Ctx) {
	f := u.fsdp
	f.ag.Wait(c.Stream.Record())
	for i, p := range u.params {
		p.Lend(nil)
		for _, t := range u.parcels[i].Ship {
			f.agPool.Free(t)
		}
	}
	u.parcels = u.parcels[:0]
}

// allocGrads makes the memory that backward writes whole gradients to. On one
// rank the first microbatch writes straight to Grad, which is the whole.
func (u *unit) allocGrads(c *nn.Ctx) {
	size := u.fsdp.reduce.Size()
	for i, p := range u.params {
		w := &u.whole[i]
		if p.Frozen() {
			continue
		}
		if size == 1 && !u.reduced {
			w.Grad = p.Grad
			continue
		}
		padded := u.fsdp.grads.New(dtype.Float32, u.grads[i]...)
		if padded.Shape[0] > p.Shape[0] {
			c.Stream.Zero(padded.Rows(p.Shape[0], padded.Shape[0]))
		}
		w.Grad = padded.Rows(0, p.Shape[0])
	}
}

// reduce sends the gradients to the ranks that own them: the sum over ranks,
// added to what earlier microbatches of the step gave.
func (u *unit) reduce(c *nn.Ctx) {
	f := u.fsdp
	var sums, dst, src []*tensor.Tensor
	for i, p := range u.params {
		w := &u.whole[i]
		if p.Frozen() {
			continue
		}
		if !w.HasGrad {
			c.Stream.Zero(w.Grad) // every rank sends the same list
		}
		src = append(src, tensor.At(w.Grad.Buf, w.Grad.Off, dtype.Float32, u.grads[i]...))
		out := p.Grad
		if u.reduced {
			out = f.rsPool.New(dtype.Float32, p.Grad.Shape...)
		}
		sums, dst = append(sums, p.Grad), append(dst, out)
	}
	defer func() {
		u.reduced = true
		if u.running--; f.last && u.running == 0 {
			u.share()
		}
	}()
	if len(src) == 0 { // all are frozen
		return
	}
	f.rs.Wait(c.Stream.Record())
	f.opts.Reduce.Reduce(f.rs, f.rsPool, f.reduce, dst, src)
	if u.reduced {
		for i, sum := range sums {
			f.rs.Add(sum, sum, dst[i])
			f.rsPool.Free(dst[i])
		}
	}
	// At most one reduction's inputs are alive beside the unit that computes.
	f.release(c)
	f.pending = reduction{done: f.rs.Record()}
	if f.reduce.Size() > 1 || u.reduced {
		f.pending.grads = src
	}
}

// share adds up, over the replicas, the gradients that the step's microbatches gave.
func (u *unit) share() {
	f := u.fsdp
	if u.shared = true; f.replicas == nil {
		return
	}
	var sums []*tensor.Tensor
	for _, p := range u.params {
		if !p.Frozen() {
			sums = append(sums, p.Grad)
		}
	}
	if len(sums) > 0 {
		f.ar.Wait(f.rs.Record())
		f.replicas.AllReduce(f.ar, sums, comm.Sum)
	}
}
