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

// Sends is the shard in that type.
func (w CastWire) Sends(shard []int) []tensor.Spec { return []tensor.Spec{{Type: w.To, Shape: shard}} }

// Pack converts the shard.
func (w CastWire) Pack(s device.Stream, _ *device.Pool, _ comm.Comm, p *comm.Parcel, shard *tensor.Tensor) {
	s.Copy(p.Ship[0], shard)
}

// Unpack is the gathered tensor itself.
func (w CastWire) Unpack(_ device.Stream, gathered comm.Parcel, rows int) tensor.Operand {
	return tensor.Operand{Tensor: gathered.Ship[0].Rows(0, rows)}
}
