// SPDX-License-Identifier: Apache-2.0

package fsdp

import (
	"iter"

	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// unit gathers the parameters of the module it decorates around its forward
// and its backward.
type unit struct {
	fsdp   *FSDP
	name   string
	inner  nn.Module
	params []*nn.Param
	keep   bool // the root unit: never freed between forward and backward

	parcels []comm.Parcel // gathered or on their way; empty when freed
	ready   device.Event  // on AG: the parcels are complete
	reduced bool          // Grad holds the gradient of an earlier microbatch of this step
}

var _ nn.Module = (*unit)(nil)

// Params yields nothing: the parameters keep their names below inner.
func (u *unit) Params() iter.Seq2[string, *nn.Param] { return nn.NoParams{}.Params() }

// Children yields the decorated module, under the empty name.
func (u *unit) Children() iter.Seq2[string, *nn.Module] {
	return nn.Slots(nn.Slot{Name: "", At: &u.inner})
}

// Forward gathers, runs and frees; the backward it defers does the same, and
// reduces in between. The tape runs backwards, so what comes first here is
// deferred for the end.
func (u *unit) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	f := u.fsdp
	u.unshard()
	f.recorded = append(f.recorded, u)
	if next := f.after(u); next != nil {
		next.unshard()
	}
	u.use(c)
	c.Tape.Defer(func() {
		u.reduce(c)
		u.reshard(c)
	})
	y := u.inner.Forward(c, x)
	c.Tape.Defer(func() {
		u.unshard()
		if before := f.before(u); before != nil {
			before.unshard()
		}
		u.use(c)
		u.allocGrads(c)
	})
	if u.reshardsAfterForward() {
		u.reshard(c)
	}
	return y
}

// after is the unit that ran after u in the last forward.
func (f *FSDP) after(u *unit) *unit {
	at := len(f.recorded)
	if at < len(f.order) && f.order[at-1] == u {
		return f.order[at]
	}
	return nil
}

// before is the unit whose backward comes after u's.
func (f *FSDP) before(u *unit) *unit {
	for i := len(f.recorded) - 1; i > 0; i-- {
		if f.recorded[i] == u {
			return f.recorded[i-1]
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
// way.
func (u *unit) unshard() {
	if len(u.parcels) > 0 {
		return
	}
	f := u.fsdp
	var dst, src []*tensor.Tensor
	for _, p := range u.params {
		packed := p.Wire.Pack(f.ag, f.agPool, f.scales, p.Shard)
		gathered := comm.Parcel{Keep: packed.Keep}
		for _, t := range packed.Ship {
			whole := append([]int{t.Shape[0] * f.gather.Size()}, t.Shape[1:]...)
			gathered.Ship = append(gathered.Ship, f.agPool.New(t.Type, whole...))
		}
		dst, src = append(dst, gathered.Ship...), append(src, packed.Ship...)
		u.parcels = append(u.parcels, gathered)
	}
	f.gather.AllGather(f.ag, dst, src)
	for _, t := range src {
		f.agPool.Free(t)
	}
	u.ready = f.ag.Record()
}

// use makes c's stream wait for the gather and sets the parameters' Use.
func (u *unit) use(c *nn.Ctx) {
	c.Stream.Wait(u.ready)
	for i, p := range u.params {
		op := p.Wire.Unpack(c.Stream, u.parcels[i])
		op.Tensor = op.Tensor.Rows(0, p.Shape[0]) // padding is only at the end
		p.Use = op
	}
}

// reshard frees the gathered parameters once c's stream is through with them.
func (u *unit) reshard(c *nn.Ctx) {
	f := u.fsdp
	f.ag.Wait(c.Stream.Record())
	for i, p := range u.params {
		p.Use = tensor.Operand{}
		for _, t := range u.parcels[i].Ship {
			f.agPool.Free(t)
		}
	}
	u.parcels = u.parcels[:0]
}

// allocGrads makes the memory that backward writes whole gradients to.
func (u *unit) allocGrads(c *nn.Ctx) {
	for _, p := range u.params {
		rows := p.Grad.Shape[0] * u.fsdp.gather.Size()
		padded := c.Pool.New(dtype.Float32, append([]int{rows}, p.Shape[1:]...)...)
		if rows > p.Shape[0] {
			c.Stream.Zero(padded.Rows(p.Shape[0], rows))
		}
		p.FullGrad, p.HasGrad = padded.Rows(0, p.Shape[0]), false
	}
}

// reduce sends the gradients to the ranks that own them: the sum over ranks,
// added to what earlier microbatches of the step gave.
func (u *unit) reduce(c *nn.Ctx) {
	f := u.fsdp
	var dst, src []*tensor.Tensor
	for _, p := range u.params {
		if !p.HasGrad {
			c.Stream.Zero(p.FullGrad) // every rank sends the same list
		}
		whole := append([]int{p.Grad.Shape[0] * f.gather.Size()}, p.Shape[1:]...)
		src = append(src, tensor.At(p.FullGrad.Buf, p.FullGrad.Off, dtype.Float32, whole...))
		out := p.Grad
		if u.reduced {
			out = f.rsPool.New(dtype.Float32, p.Grad.Shape...)
		}
		dst = append(dst, out)
		p.FullGrad = nil
	}
	f.rs.Wait(c.Stream.Record())
	f.reduce.ReduceScatter(f.rs, dst, src, comm.Sum)
	if u.reduced {
		for i, p := range u.params {
			f.rs.Add(p.Grad, p.Grad, dst[i])
			f.rsPool.Free(dst[i])
		}
	}
	u.reduced = true
	// At most one reduction's inputs are alive beside the unit that computes.
	f.release(c)
	f.pending = reduction{grads: src, done: f.rs.Record()}
}
