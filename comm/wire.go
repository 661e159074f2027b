// SPDX-License-Identifier: Apache-2.0

package comm

import (
	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// Parcel is a shard on its way: Ship is gathered, Keep is a value that all
// ranks already agree on (a scale) and that never travels.
type Parcel struct {
	Ship []*tensor.Tensor
	Keep *tensor.Tensor
}

// Wire is how a shard travels: in a high precision type, or as float8.
// Pack makes what is sent from a shard [c, ...] padded to the size every rank
// has; Ship's memory comes from pool, and the caller frees it there. Unpack
// makes the operand a matmul reads from the gathered parcel, whose Ship
// tensors have Size times the rows.
type Wire interface {
	Pack(s device.Stream, pool *device.Pool, g Comm, shard *tensor.Tensor) Parcel
	Unpack(s device.Stream, gathered Parcel) tensor.Operand
	// Type is the element type that travels.
	Type() dtype.Type
}
