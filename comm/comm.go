// SPDX-License-Identifier: Apache-2.0

// Package comm says what a communicator is: the collectives of a group of
// ranks, asynchronous on a device's stream. comm/local connects goroutines,
// comm/host processes; comm/record writes down what another communicator does.
//
// What these communicators offer besides is in Control: a name, a deadline, an
// end. Every rank of a group makes the same calls in the same order:
//
//	c := local.New(2, local.Options{})[rank]
//	c.AllReduce(s, t, comm.Sum)                            // in place
//	c.AllGather(s, comm.T(full), comm.T(shard))            // full = 2 shards
//	c.ReduceScatter(s, comm.T(shard), comm.T(full), comm.Sum)
//	sub, err := c.Split(rank%2, rank)                      // a group per color
//	err = s.Sync()                                         // errors arrive here
//
// Sums are made in float32 in rank order 0..w-1, never in order of arrival, so
// results are the same bits in every run.
package comm

import (
	"fmt"

	"octet/device"
	"octet/tensor"
)

// Op is how an AllReduce or ReduceScatter combines values.
type Op uint8

// The operations. Avg is the sum divided by the size of the group. Max of
// int32 is exact and lets amaxes travel as bit patterns; Max of float32 and
// bfloat16 propagates NaN.
const (
	Sum Op = iota
	Avg
	Max
)

// String is "sum", "avg" or "max".
func (o Op) String() string {
	if o > Max {
		return fmt.Sprintf("op(%d)", uint8(o))
	}
	return [...]string{"sum", "avg", "max"}[o]
}

// Comm is the collectives of one rank in a group of Size ranks. All calls but
// Split only enqueue work on the stream; an error (a mismatch between ranks, a
// deadline, an abort) sticks to the stream and names the operation, its
// sequence number in the group and the ranks at fault or missing. After an
// error the communicator is aborted.
//
// AllGather and ReduceScatter take lists: a grouped call, one
// synchronisation, one record, however many tensors (ncclGroupStart and
// ncclGroupEnd on a GPU). Lists and elementwise sizes must be equal on all
// ranks.
type Comm interface {
	Rank() int
	Size() int
	// AllGather: dst[i] has Size times the elements of src[i], slot q receives
	// rank q's src[i]. src[i] may be dst[i]'s own slot. Any type.
	AllGather(s device.Stream, dst, src []*tensor.Tensor)
	// ReduceScatter: src[i] has Size times the elements of dst[i]; dst[i] is op
	// over ranks of slot Rank. float32 or bfloat16, equal types.
	ReduceScatter(s device.Stream, dst, src []*tensor.Tensor, op Op)
	// AllReduce works in place: float32 and bfloat16, int32 with Max or Sum.
	AllReduce(s device.Stream, t *tensor.Tensor, op Op)
	// Broadcast sends root's t to all; root is a rank of this group.
	Broadcast(s device.Stream, t *tensor.Tensor, root int)
	// AllToAll: slot q of src goes to slot Rank of rank q's dst, which is other
	// memory than src. Any type.
	AllToAll(s device.Stream, dst, src *tensor.Tensor)
	// Barrier holds the stream until every rank's stream is here.
	Barrier(s device.Stream)
	// Split makes one group per color, ranks ordered by key then by rank.
	// A negative color is in no group and gets nil.
	Split(color, key int) (Comm, error)
	// Abort ends all pending and later work of the group, on all ranks, with
	// the given cause; safe to call from any goroutine, the first cause wins.
	Abort(cause error)
}

// T makes a list of its arguments.
func T(ts ...*tensor.Tensor) []*tensor.Tensor { return ts }
