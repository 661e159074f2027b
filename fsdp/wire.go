// SPDX-License-Identifier: Apache-2.0

package fsdp

import (
	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// CastWire sends a shard in a high precision type: mixed precision is the cast
// it makes while packing.
type CastWire struct {
	To dtype.Type
}

var _ comm.Wire = CastWire{}

// Pack converts the shard.
func (w CastWire) Pack(s device.Stream, pool *device.Pool, _ comm.Comm, shard *tensor.Tensor) comm.Parcel {
	out := pool.New(w.To, shard.Shape...)
	s.Copy(out, shard)
	return comm.Parcel{Ship: []*tensor.Tensor{out}}
}

// Unpack is the gathered tensor itself.
func (w CastWire) Unpack(_ device.Stream, gathered comm.Parcel) tensor.Operand {
	return tensor.Operand{Tensor: gathered.Ship[0]}
}

// Type is the type the shard is converted to.
func (w CastWire) Type() dtype.Type { return w.To }
