// SPDX-License-Identifier: Apache-2.0

package group

import (
	"context"
	"fmt"
	"time"

	"octet/comm"
)

// Timeout is the error of a Link's wait that took longer than the job's
// timeout.
type Timeout struct {
	World int // the rank that was waited for, in the world
}

// Error is short: the call that waited tells the rest.
func (t Timeout) Error() string { return fmt.Sprintf("timeout waiting for rank %d", t.World) }

// Depth is how many rounds a rank may be ahead of the slowest reader: a Link
// keeps that many messages of each rank.
const Depth = 4

// Link is one rank's place among the ranks of one group. Rounds are numbered
// from 0 and wrap around; all ranks go through the same rounds. A rank calls
// Done for every round, Post only where it has something to say, and Await
// only for ranks that have. Only one goroutine at a time uses a Link.
type Link interface {
	// Rank and Size are this rank and the number of ranks in the group.
	Rank() int
	Size() int
	// Window is the most bytes of a part of a message, a multiple of Align:
	// of the part that all ranks read or, where addressed, of each rank's own.
	Window(addressed bool) int
	// Slice is how many bytes of its part each rank sums at a time in an all-reduce
	// in which a part has so many; it is the same on all ranks.
	Slice(part int) int
	// Ahead is how many messages a rank should post beyond the round that it reads;
	// it may change. More than 1 only where messages are copied.
	Ahead() int
	// Post makes m the message of round n. A Link that lends memory rather
	// than copying it holds on to m until Finish.
	Post(n uint32, m *Message) error
	// Await blocks until rank q has posted round n. The view is valid until
	// Done. Where into is set the reader means to copy the message there: a Link
	// that would stage it may put it there instead, and say so (View.Placed).
	Await(n uint32, q int, into *Message) (View, error)
	// Done says that this rank has read all it wants of round n.
	Done(n uint32)
	// Finish ends a call, also a failed one: it returns when what this rank has
	// posted before round n is no longer read by others, which after an abort
	// is soon.
	Finish(n uint32) error
	// Posted is the round after the last that rank q is known to have posted.
	Posted(q int) uint32
	Close() error
}

// Net is what a rank uses to make groups.
type Net interface {
	// Exchange gives every member's value to every member, in the order of
	// members, which are ranks of the world. It does not disturb collectives.
	Exchange(ctx context.Context, name string, members []int, value []byte) ([][]byte, error)
	// Link connects the members of a new group; all of them call it with the
	// same unique name.
	Link(ctx context.Context, name string, members []int) (Link, error)
	// Hosts returns, of a group whose ranks lie on several hosts, several and the
	// same number on each, in the order of the hosts: the ranks of this host, and
	// those that have this rank's place on each host. Of another group, nil.
	Hosts(members []int) (here, across []int)
	// RollCall asks the ranks, which are of the world, whether their processes run,
	// and returns those that have not answered after d. Ranks of one process return
	// none.
	RollCall(ranks []int, d time.Duration) (silent []int)
	// Answer sets what this rank says when it answers. Ask is a roll call that returns
	// what each of the ranks said, nil of a silent one.
	Answer(with func() []byte)
	Ask(ranks []int, d time.Duration) [][]byte
	// Close releases what the whole job holds on this rank.
	Close() error
}

// Align is the alignment in bytes of every tensor within a message, and a
// multiple of the size of every element.
const Align = 64

func align(n int) int { return (n + Align - 1) &^ (Align - 1) }

// Layout places the tensors of a call one after the other in a message.
type Layout struct {
	At    []int // where tensor i starts, a multiple of Align
	Len   []int // its bytes
	Total int
}

func (l *Layout) reset() { l.At, l.Len, l.Total = l.At[:0], l.Len[:0], 0 }

func (l *Layout) add(bytes int) {
	l.At = append(l.At, align(l.Total))
	l.Len = append(l.Len, bytes)
	l.Total = align(l.Total) + bytes
}

// Span is the range of tensor i's bytes that lies in bytes lo to hi of the
// layout; it is empty where a >= b.
func (l *Layout) Span(i, lo, hi int) (a, b int) {
	return max(lo-l.At[i], 0), min(hi-l.At[i], l.Len[i])
}

// Message is what a rank says in one round: bytes Lo to Hi of the tensors in
// Bufs laid out by Layout. Where Addressed, Bufs[i] is a sequence of parts of
// Layout.Len[i] bytes, part q for rank q. Where Slice is set, rank q reads
// only the q-th so many bytes from Lo on.
type Message struct {
	Call      *comm.Call // only in the first round of a call
	Bufs      [][]byte
	Layout    *Layout
	Lo, Hi    int
	Addressed bool
	Slice     int // a multiple of Align, or 0
	Only      int // 1 + the only rank that the message is for; 0: all
}

// PerRank reports whether each rank reads something else.
func (m *Message) PerRank() bool { return m.Addressed || m.Slice > 0 }

// Range is the bytes of the layout that rank q reads.
func (m *Message) Range(q int) (lo, hi int) {
	if m.Slice == 0 {
		return m.Lo, m.Hi
	}
	return min(m.Lo+q*m.Slice, m.Hi), min(m.Lo+(q+1)*m.Slice, m.Hi)
}

// Part is the memory of tensor i that rank q reads.
func (m *Message) Part(q, i int) []byte {
	if !m.Addressed {
		return m.Bufs[i]
	}
	n := m.Layout.Len[i]
	return m.Bufs[i][q*n : (q+1)*n]
}

// Gather copies what rank q reads to dst.
func (m *Message) Gather(dst []byte, q int) {
	lo, hi := m.Range(q)
	for i := range m.Bufs {
		if a, b := m.Layout.Span(i, lo, hi); a < b {
			copy(dst[m.Layout.At[i]+a-lo:], m.Part(q, i)[a:b])
		}
	}
}

// scatter copies what v shows to the memory of m, a message of the same layout and range.
func (m *Message) scatter(v *View) {
	for i := range m.Bufs {
		a, b := m.Layout.Span(i, m.Lo, m.Hi)
		if a >= b {
			continue
		}
		if to, from := m.Bufs[i][a:b], v.Bytes(m.Layout, i, a, b); &to[0] != &from[0] { // see comm.InPlace
			copy(to, from)
		}
	}
}

// View is a message as its reader sees it: in the sender's memory, or staged.
type View struct {
	Call   *comm.Call // set in the first round of a call
	Lent   *Message   // in the sender's memory
	Reader int        // whose part of Lent
	Staged []byte     // or a copy, from byte Lo of the layout on
	Lo     int        // of the range that the reader reads
	Placed bool       // or it is where Await was told to put it
}

// Bytes is bytes a to b of tensor i in layout l.
func (v *View) Bytes(l *Layout, i, a, b int) []byte {
	if v.Lent != nil {
		return v.Lent.Part(v.Reader, i)[a:b]
	}
	at := l.At[i] - v.Lo
	return v.Staged[at+a : at+b]
}
