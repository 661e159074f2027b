// SPDX-License-Identifier: Apache-2.0

// Package record writes down what a communicator is asked to do: always as
// counts, on request call by call. It is cheap enough to be always on: train
// reports bytes per step from it, and tests read it.
//
//	log := &record.Log{}
//	c := record.New(world, log)                       // groups split from c too
//	before := log.Bytes()
//	step()
//	fmt.Println(log.Bytes() - before, "bytes sent")
//	n := log.Count(comm.AllReduce, dtype.Float32).Calls
//
// Set Keep for the calls themselves, such as
//
//	world #3 all-gather float8_e4m3fn[4096] float32[1], 4100 bytes
//
// Bytes are those of a rank's contribution, whatever the number of ranks and
// the way they travel: of src for all-gather, reduce-scatter and all-to-all,
// of the tensors for all-reduce and broadcast. Copied is how many of them the
// rank copies to itself: none where memory is laid out so that it need not
// (comm.InPlace).
package record

import (
	"fmt"
	"strings"
	"sync"

	"octet/comm"
	"octet/dtype"
	"octet/tensor"
)

// Count is how much was asked for.
type Count struct {
	Calls int64
	Bytes int64
}

// Total is the count of one kind of collective with tensors of one type. A
// call with tensors of two types counts in both.
type Total struct {
	Kind comm.Kind
	Type dtype.Type // Invalid for a barrier
	Count
}

// types is how many element types there are.
const types = int(dtype.Int32) + 1

// Log is the record of one rank. The zero value counts. It is safe for
// concurrent use.
type Log struct {
	// Keep also keeps every call; set it before the first.
	Keep bool

	mu    sync.Mutex
	total Counts
	calls []Call
}

// Call is one call of one rank.
type Call struct {
	Group string
	Ranks int // of the group
	Seq   int // 1 for the first call of the group
	Kind  comm.Kind
	Op    comm.Op // where Kind.Reduces
	Root  int     // of a broadcast
	Parts []Part  // this rank's contribution

	Copied int64 // bytes of it that the rank copies to itself
}

// Part is one tensor of a Call.
type Part struct {
	Type  dtype.Type
	Elems int
}

// Bytes is the size of the contribution.
func (c Call) Bytes() (n int64) {
	for _, p := range c.Parts {
		n += int64(p.Elems * p.Type.Size())
	}
	return n
}

// String is a line such as "world #1 all-reduce max float32[32], 128 bytes".
func (c Call) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s #%d %v", c.Group, c.Seq, c.Kind)
	if c.Kind.Reduces() {
		fmt.Fprintf(&b, " %v", c.Op)
	}
	if c.Kind == comm.Broadcast {
		fmt.Fprintf(&b, " from %d", c.Root)
	}
	for _, p := range c.Parts {
		fmt.Fprintf(&b, " %v[%d]", p.Type, p.Elems)
	}
	if c.Kind != comm.Barrier {
		fmt.Fprintf(&b, ", %d bytes", c.Bytes())
	}
	return b.String()
}

// Bytes is the sum over all calls of groups with more than one rank: alone there
// is nobody to send to.
func (l *Log) Bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total.bytes
}

// Count is the sum over the calls of one kind, with tensors of one type.
func (l *Log) Count(k comm.Kind, t dtype.Type) Count {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total.counts[k][t]
}

// Copied is how many bytes the calls of one kind copied from the rank to
// itself.
func (l *Log) Copied(k comm.Kind) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total.copied[k]
}

// Totals are all counts that are not zero, by kind and type.
func (l *Log) Totals() (ts []Total) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range l.total.counts {
		for t, n := range l.total.counts[k] {
			if n.Calls > 0 {
				ts = append(ts, Total{comm.Kind(k), dtype.Type(t), n})
			}
		}
	}
	return ts
}

// Counts are what a Log has counted, without the calls themselves.
type Counts struct {
	counts [comm.Kinds][types]Count
	copied [comm.Kinds]int64
	bytes  int64
}

// During is what is counted while f runs.
func (l *Log) During(f func()) (counted Counts) {
	l.mu.Lock()
	before := l.total
	l.mu.Unlock()
	f()
	l.mu.Lock()
	defer l.mu.Unlock()
	counted = l.total
	counted.add(&before, -1)
	return counted
}

// Add counts c so many times more: of calls that a graph of the device repeats without being asked for each.
func (l *Log) Add(c Counts, times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total.add(&c, int64(times))
}

func (c *Counts) add(o *Counts, times int64) {
	for k := range o.counts {
		for t, n := range o.counts[k] {
			c.counts[k][t].Calls += times * n.Calls
			c.counts[k][t].Bytes += times * n.Bytes
		}
		c.copied[k] += times * o.copied[k]
	}
	c.bytes += times * o.bytes
}

// Take returns the calls kept so far and forgets them.
func (l *Log) Take() []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	calls := l.calls
	l.calls = nil
	return calls
}

// add enters a call with tensors ts. call is its
// description but for Parts.
func (l *Log) add(call Call, ts []*tensor.Tensor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total.copied[call.Kind] += call.Copied
	var seen [types]bool
	for _, t := range ts {
		c := &l.total.counts[call.Kind][t.Type]
		if !seen[t.Type] {
			seen[t.Type] = true
			c.Calls++
		}
		c.Bytes += int64(t.Bytes())
		if call.Ranks > 1 {
			l.total.bytes += int64(t.Bytes())
		}
	}
	if len(ts) == 0 {
		l.total.counts[call.Kind][dtype.Invalid].Calls++
	}
	if l.Keep {
		for _, t := range ts {
			call.Parts = append(call.Parts, Part{t.Type, t.Numel()})
		}
		l.calls = append(l.calls, call)
	}
}
