// SPDX-License-Identifier: Apache-2.0

package fp8

import (
	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// Wire sends a weight's shards as float8 bytes. All ranks cast with one scale,
// that of the whole weight, so what is gathered equals the cast of the whole.
// The scale does not travel.
type Wire struct {
	param  *nn.Param
	format dtype.Type
	pow2   bool

	scale   *tensor.Tensor // float32 [], the same on all ranks
	inv     *tensor.Tensor // its reciprocal
	version uint64         // of the parameter that scale was made for
	amax    *tensor.Tensor // memory for the amax of a scale made while packing
}

var _ comm.Wire = (*Wire)(nil)

// Pack casts the shard. Without a scale made for the shard's present values
// (PrecomputeFloat8DynamicScaleForFSDP) it first agrees on one with the other
// ranks, by a collective of its own.
func (w *Wire) Pack(s device.Stream, pool *device.Pool, g comm.Comm, shard *tensor.Tensor) comm.Parcel {
	if !w.fresh() {
		if w.scale == nil {
			w.scale, w.inv = pool.New(dtype.Float32), pool.New(dtype.Float32)
		}
		if w.amax == nil {
			w.amax = pool.New(dtype.Float32, 1)
		}
		agree(s, g, w.scale.View(1), w.inv.View(1), w.amax, []*nn.Param{w.param}, []dtype.Type{w.format}, w.pow2)
		w.version = w.param.Version
	}
	q := pool.New(w.format, shard.Shape...)
	s.Cast(tensor.Operand{Tensor: q, Scale: w.scale}, tensor.Operand{}, tensor.Operand{Tensor: shard})
	return comm.Parcel{Ship: []*tensor.Tensor{q}, Keep: w.scale}
}

// fresh reports whether scale was made for the parameter's present values.
// Every write to a parameter happens on all ranks, so all take the same branch.
func (w *Wire) fresh() bool { return w.scale != nil && w.version == w.param.Version }

// Unpack is the gathered bytes with their scale.
func (w *Wire) Unpack(_ device.Stream, gathered comm.Parcel) tensor.Operand {
	return tensor.Operand{Tensor: gathered.Ship[0], Scale: gathered.Keep, Inv: w.inv}
}

// Type is the 8-bit format.
func (w *Wire) Type() dtype.Type { return w.format }

// agree makes the scales of params' whole values: the amax of each local shard,
// one all-reduce of them all, and the scale of each. Amaxes travel as their bit
// patterns: for floats that are not negative the order of int32 is the order
// of values, with NaN above all, so that the maximum is exact and keeps NaN.
func agree(s device.Stream, g comm.Comm, scales, invs, amax *tensor.Tensor, params []*nn.Param, formats []dtype.Type, pow2 bool) {
	shards := make([]*tensor.Tensor, len(params))
	for i, p := range params {
		shards[i] = p.Local()
	}
	s.Amax(amax, shards)
	g.AllReduce(s, comm.T(tensor.At(amax.Buf, amax.Off, dtype.Int32, amax.Shape...)), comm.Max)
	s.Scales(scales, invs, amax, formats, pow2)
}

// PrecomputeFloat8DynamicScaleForFSDP makes the scales of all weights that
// travel as float8 with one all-reduce over g, of one word a weight, on c's
// stream. Call it on all ranks after every write to the parameters (the
// optimizer's step, initialisation, loading): the next all-gathers then need no
// collective for their scales. g must span the ranks that shard the weights.
func PrecomputeFloat8DynamicScaleForFSDP(c *nn.Ctx, g comm.Comm, m nn.Module) {
	var wires []*Wire
	var params []*nn.Param
	var formats []dtype.Type
	for _, p := range nn.Parameters(m) {
		if w, ok := p.Wire.(*Wire); ok {
			wires, params, formats = append(wires, w), append(params, p), append(formats, w.format)
		}
	}
	if len(wires) == 0 {
		return
	}
	scales, invs := wires[0].shared(c.Pool, wires)
	amax := c.Pool.New(dtype.Float32, len(wires))
	agree(c.Stream, g, scales, invs, amax, params, formats, wires[0].pow2)
	c.Pool.Free(amax)
	for _, w := range wires {
		w.version = w.param.Version
	}
}

// shared is one tensor that holds the scales of all wires, the first of which
// is w, and one of their reciprocals. They are made once and then stay.
func (w *Wire) shared(pool *device.Pool, wires []*Wire) (scales, invs *tensor.Tensor) {
	last := wires[len(wires)-1]
	if w.scale == nil || last.scale == nil || w.scale.Buf != last.scale.Buf {
		block, inverse := pool.New(dtype.Float32, len(wires)), pool.New(dtype.Float32, len(wires))
		for i, each := range wires {
			each.scale = tensor.At(block.Buf, block.Off+4*i, dtype.Float32)
			each.inv = tensor.At(inverse.Buf, inverse.Off+4*i, dtype.Float32)
		}
	}
	return tensor.At(w.scale.Buf, w.scale.Off, dtype.Float32, len(wires)), tensor.At(w.inv.Buf, w.inv.Off, dtype.Float32, len(wires))
}
