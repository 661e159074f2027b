// SPDX-License-Identifier: Apache-2.0

package fp8

import (
	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// Wire sends a weight's shards as float8 bytes, cast with one scale that does not
// travel: torchao's WeightWithDynamicFloat8CastTensor, and of a delayed scale
// WeightWithDelayedFloat8CastTensor.
type Wire struct {
	site *site
}

var _ comm.Wire = (*Wire)(nil)

// Sends is the shard in the 8-bit format.
func (w *Wire) Sends(shard []int) []tensor.Spec {
	return []tensor.Spec{{Type: w.site.recipe.Cast[nn.Weight].Format, Shape: shard}}
}

// Pack casts the shard: by its delayed scale, or by its dynamic one. Without one that
// was made for the shard's present values (PrecomputeFloat8DynamicScaleForFSDP) it first
// agrees on it with the other ranks, by a collective of its own.
func (w *Wire) Pack(s device.Stream, pool *device.Pool, g comm.Comm, p *comm.Parcel, shard *tensor.Tensor) {
	k := w.site
	if k.recipe.Cast[nn.Weight].Type == Delayed {
		k.delayedPack(s, pool, g, p, shard)
		return
	}
	k.scales.renew(s, pool, g, k.index)
	q := k.scales.views[k.index]
	p.Scale, p.Inv, q.Tensor = q.Scale, q.Inv, p.Ship[0]
	s.Cast(q, tensor.Operand{}, tensor.Operand{Tensor: shard})
	k.watch.measure(s, nn.Weight, tensor.Operand{Tensor: shard}, q, tensor.Operand{})
}

// Unpack is the gathered bytes with their scale.
func (w *Wire) Unpack(_ device.Stream, p comm.Parcel, rows int) tensor.Operand {
	return tensor.Operand{Tensor: p.Ship[0].Rows(0, rows), Scale: p.Scale, Inv: p.Inv}
}

// RowWire sends a weight's shards as float8 bytes with a scale a row, which is the
// row's own: ranks need not agree on anything, and only the reciprocals travel with
// the bytes. The bytes serve both matmuls: grad_input, which sums over the rows,
// takes them with the scales folded into grad_output (site.fold). torchao
// gathers row-wise weights in high precision and casts them twice.
type RowWire struct {
	site *site
}

var _ comm.Wire = (*RowWire)(nil)

// Sends is the shard in the 8-bit format and the reciprocals of its scales, [rows,1].
func (w *RowWire) Sends(shard []int) []tensor.Spec {
	return []tensor.Spec{{Type: w.site.recipe.Cast[nn.Weight].Format, Shape: shard}, {Type: dtype.Float32, Shape: []int{shard[0], 1}}}
}

// Pack casts the shard by rows.
func (w *RowWire) Pack(s device.Stream, pool *device.Pool, _ comm.Comm, p *comm.Parcel, shard *tensor.Tensor) {
	scale := pool.New(dtype.Float32, p.Ship[1].Shape...)
	src, q := tensor.Operand{Tensor: shard}, tensor.Operand{Tensor: p.Ship[0], Scale: scale, Inv: p.Ship[1]}
	s.DynamicCast(q, tensor.Operand{}, src, w.site.recipe.Config.RoundScalesToPowerOf2)
	w.site.watch.measure(s, nn.Weight, src, q, tensor.Operand{})
	pool.Free(scale)
}

// Unpack is the gathered bytes with the reciprocals of their scales.
func (w *RowWire) Unpack(_ device.Stream, p comm.Parcel, rows int) tensor.Operand {
	return tensor.Operand{Tensor: p.Ship[0].Rows(0, rows), Inv: p.Ship[1].Rows(0, rows)}
}
