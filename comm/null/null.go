// SPDX-License-Identifier: Apache-2.0

// Package null is one rank of a group whose others do not exist: collectives that move
// nothing and are done at once. With package device/null a rank of any job runs alone, for
// what it needs of memory and what it would send (comm/record).
package null

import (
	"octet/comm"
	"octet/device"
	"octet/tensor"
)

// group is a comm.Comm of the given rank and size.
type group struct{ rank, size int }

var _ comm.Comm = group{}

// New is one rank of a group of size ranks.
func New(rank, size int) comm.Comm { return group{rank, size} }

func (g group) Rank() int { return g.rank }
func (g group) Size() int { return g.size }

func (group) AllGather(_ device.Stream, _, _ []*tensor.Tensor)                {}
func (group) ReduceScatter(_ device.Stream, _, _ []*tensor.Tensor, _ comm.Op) {}
func (group) AllReduce(device.Stream, []*tensor.Tensor, comm.Op)              {}
func (group) Broadcast(device.Stream, *tensor.Tensor, int)                    {}
func (group) AllToAll(_ device.Stream, _, _ []*tensor.Tensor)                 {}
func (group) Barrier(device.Stream)                                           {}
func (group) Abort(error)                                                     {}

// Of is a group of some of the ranks, in which this one has the given rank: what Split
// makes where there are others who choose a color.
func (group) Of(rank, size int) comm.Comm { return group{rank, size} }

// Split is a group of the same ranks: nobody is there to choose another color.
func (g group) Split(color, key int) (comm.Comm, error) { return g, nil }
