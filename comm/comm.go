// SPDX-License-Identifier: Apache-2.0

// Package comm says what a communicator is: the collectives of a group of
// ranks, asynchronous on a device's stream. comm/local connects goroutines,
// comm/host processes; comm/record writes down what another communicator does.
//
// What these communicators offer besides is in Control: a name, a deadline, an
// end. Every rank of a group makes the same calls in the same order:
//
//	c := local.New(2, local.Options{})[rank]
//	c.AllReduce(s, comm.T(t), comm.Sum)                    // in place
//	c.AllGather(s, comm.T(full), comm.T(shard))            // full = 2 shards
//	c.ReduceScatter(s, comm.T(shard), comm.T(full), comm.Sum)
//	sub, err := c.Split(rank%2, rank)                      // a group per color
//	err = s.Sync()                                         // errors arrive here
//
// Sums are made in an order that depends on the ranks' layout alone, never on which
// arrives first, so results are the same bits in every run. comm/local and comm/host
// sum in float32 in rank order 0..w-1.
//
// A ControlGroup is the same ranks without the data: what they call themselves, who
// is missing, why they end. A Comm over a library that moves data its own way is
// made on top of one (package nccl).
package comm

import (
	"fmt"

	"octet/device"
	"octet/tensor"
)

// Op is how an AllReduce or ReduceScatter combines values.
type Op uint8

// The operations. There is no average: a library may round 1/n to the element type
// before it sums, so whoever wants one divides beforehand. Max of int32 is exact and
// lets amaxes travel as bit patterns, among which NaN is the largest; Max of float32
// and bfloat16 may lose a NaN.
const (
	Sum Op = iota
	Max
)

// String is "sum" or "max".
func (o Op) String() string {
	if o > Max {
		return fmt.Sprintf("op(%d)", uint8(o))
	}
	return [...]string{"sum", "max"}[o]
}

// Comm is the collectives of one rank in a group of Size ranks. All calls but
// Split only enqueue work on the stream; an error (a mismatch between ranks, a
// deadline, an abort) sticks to the stream and names the operation, its
// sequence number in the group and the ranks at fault or missing. After an
// error the communicator is aborted.
//
// Work of a rank's groups is enqueued in the same order on all ranks: two
// collectives that wait for each other's processors never end. Communicators of the
// host take any order.
//
// Collectives take lists: a grouped call, one synchronisation, one record,
// however many tensors (ncclGroupStart and ncclGroupEnd on a GPU), each of
// which gets the bits that it would have alone. Lists and elementwise sizes
// must be equal on all ranks.
//
// What a rank gives itself is copied on the stream, unless it is there already
// (see InPlace). A group of one rank does no more than that, so it works on
// the streams of any device; larger ones say which they need.
type Comm interface {
	Rank() int
	Size() int
	// AllGather: dst[i] has Size times the elements of src[i], slot q receives
	// rank q's src[i]. Where src[i] is dst[i]'s own slot, it is sent from there
	// and not copied. Any type.
	AllGather(s device.Stream, dst, src []*tensor.Tensor)
	// ReduceScatter: src[i] has Size times the elements of dst[i]; dst[i] is op
	// over ranks of slot Rank, and may be that slot. float32 or bfloat16, equal
	// types.
	ReduceScatter(s device.Stream, dst, src []*tensor.Tensor, op Op)
	// AllReduce works in place: float32 and bfloat16, int32 with Max or Sum.
	AllReduce(s device.Stream, ts []*tensor.Tensor, op Op)
	// Broadcast sends root's t to all; root is a rank of this group.
	Broadcast(s device.Stream, t *tensor.Tensor, root int)
	// AllToAll: slot q of src[i] goes to slot Rank of rank q's dst[i], which is
	// other memory than src[i]. Any type.
	AllToAll(s device.Stream, dst, src []*tensor.Tensor)
	// Barrier holds the stream until every rank's stream is here.
	Barrier(s device.Stream)
	// Split makes one group per color, ranks ordered by key then by rank.
	// A negative color is in no group and gets nil. All ranks call it, while no
	// collective of the group is under way.
	Split(color, key int) (Comm, error)
	// Abort ends all pending and later work of the group, on all ranks, with
	// the given cause; safe to call from any goroutine, the first cause wins.
	Abort(cause error)
}

// T makes a list of its arguments.
func T(ts ...*tensor.Tensor) []*tensor.Tensor { return ts }

// InPlace reports whether part is the memory of a rank's own slot of whole,
// which has a slot of part's size for each rank: then a collective between the
// two need not copy what the rank gives itself.
func InPlace(whole, part *tensor.Tensor, rank int) bool {
	return whole.Buf == part.Buf && part.Off == whole.Off+rank*part.Bytes()
}
