// SPDX-License-Identifier: Apache-2.0

package comm

import (
	"octet/device"
	"octet/tensor"
)

// Parcel is a tensor on its way between ranks: what fsdp_pre_all_gather returns. Ship,
// its all_gather_inputs, travels; Scale and Inv, its metadata, are what all ranks know
// already of a cast, and never do. Eval: it is to be evaluated only, which changes no
// state that training reads.
type Parcel struct {
	Ship       []*tensor.Tensor
	Scale, Inv *tensor.Tensor
	Eval       bool
}

// Wire is how the shards of a tensor travel when they are gathered: in a high
// precision type, or as float8. Pack is what FSDP2 calls fsdp_pre_all_gather,
// Unpack fsdp_post_all_gather.
type Wire interface {
	// Sends lists what travels for a shard [c, ...], padded to the shape that
	// every rank has; a gathered tensor has Size times the rows.
	Sends(shard []int) []tensor.Spec
	// Pack writes the shard to p.Ship, this rank's parts of the gathered tensors,
	// and sets p's scale and reciprocal where the ranks of g share one. Memory that
	// it needs comes from pool, the stream's.
	Pack(s device.Stream, pool *device.Pool, g Comm, p *Parcel, shard *tensor.Tensor)
	// Unpack is the operand that a matmul reads: the first rows of what was
	// gathered. The rest is padding.
	Unpack(s device.Stream, gathered Parcel, rows int) tensor.Operand
}

// Reduction is how whole gradients become the sum over ranks, each rank's own
// part of it. src[i] has Size times the rows of dst[i], float32. Memory that it
// needs comes from pool and is free again, in the order of s, when it returns.
type Reduction interface {
	Reduce(s device.Stream, pool *device.Pool, g Comm, dst, src []*tensor.Tensor)
}

// SumReduction is a ReduceScatter in float32.
type SumReduction struct{}

var _ Reduction = SumReduction{}

// Reduce implements Reduction.
func (SumReduction) Reduce(s device.Stream, _ *device.Pool, g Comm, dst, src []*tensor.Tensor) {
	g.ReduceScatter(s, dst, src, Sum)
}
