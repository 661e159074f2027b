// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"octet/comm"
	"octet/comm/internal/group"
)

// link is one rank's place in a group. It lends messages to the members on this host or copies them into shared memory
// once for all of them, and sends them to each of the others.
type link struct {
	node    *node
	members []int // ranks of the world
	me      int
	chunk   int     // bytes of a message
	shm     *shm    // nil without other members on this host
	ranks   []int   // of the group, by seat in shm
	seats   []int   // in shm by rank; -1 on other hosts
	wires   []*wire // by rank; nil on this host
	calls   []comm.Call
	checks  []func() error // by rank: n.check, bound once
	stop    func() bool    // of waking after an abort; nil without shm
	apart   bool           // every member is on a host of its own
}

var _ group.Link = (*link)(nil)

// Link implements group.Net.
func (n *node) Link(ctx context.Context, name string, members []int) (group.Link, error) {
	l := &link{
		node: n, members: members, me: slices.Index(members, n.cfg.Rank),
		seats: make([]int, len(members)), wires: make([]*wire, len(members)),
		calls: make([]comm.Call, len(members)), checks: make([]func() error, len(members)),
	}
	hosts := map[string]bool{}
	var here []int
	for q, r := range members {
		hosts[n.peers[r].Host] = true
		l.seats[q] = -1
		l.checks[q] = func() error { return n.check(r) }
		if !n.remote(r) {
			l.seats[q] = len(here)
			here = append(here, r)
			l.ranks = append(l.ranks, q)
		}
	}
	l.apart = len(hosts) == len(members)
	l.chunk = n.cfg.chunkFor(len(members), len(here))
	if len(here) > 1 {
		mem, err := n.segment(ctx, name, here, len(here)*seatBytes(l.chunk))
		if err != nil {
			return nil, err
		}
		l.shm = newShm(mem, len(here), l.seats[l.me], l.chunk)
		if n.maps != nil {
			l.shm.lending = newLending(n, here)
		}
		l.stop = n.job.AfterAbort(l.shm.wake)
	}
	for q, r := range members {
		if n.remote(r) {
			conn, err := n.connect(ctx, name, r)
			if err != nil {
				return nil, errors.Join(err, l.Close())
			}
			l.wires[q] = newWire(n, r, conn, l.chunk)
		}
	}
	return l, nil
}

func (l *link) Rank() int { return l.me }
func (l *link) Size() int { return len(l.members) }

func (l *link) Window(addressed bool) int {
	n := l.chunk
	if addressed {
		n = max(n/len(l.members)/group.Align, 1) * group.Align
	}
	return segments(n)
}

// cacheSlice is the slice of a large all-reduce over TCP: what is under way between
// all ranks of a machine should stay in its cache, where the kernel copies it from.
const cacheSlice = 128 << 10

// Slice is small in shared memory, too: blocks overlap there, and larger ones took longer.
func (l *link) Slice(part int) int {
	switch {
	case !l.apart:
		return min(l.Window(true), max(wireChunk/len(l.members)/group.Align, 1)*group.Align)
	case part <= l.chunk:
		return l.chunk
	}
	return segments(min(l.chunk, cacheSlice))
}

// segments is n, but for room for heads if it is of 64 KiB or more: a message of whole
// 64 KiB fits with its heads into as many of the largest segments of TCP, those of
// loopback. A rest of a few bytes is a segment as well, and takes as long as a full one.
func segments(n int) int {
	const ofSegment, ofFrame = group.Align, 2 * group.Align // more than they are, to keep the alignment
	if count := n / (64 << 10); count > 0 {
		n -= count*ofSegment + ofFrame
	}
	return n
}

// Ahead is 1 with shared memory, whose messages others of the host have to read.
// Between hosts it grows with the way: near ones keep what is sent in the cache.
func (l *link) Ahead() int {
	if l.shm != nil {
		return 1
	}
	ahead := 1
	for _, w := range l.wires {
		if w != nil {
			ahead = max(ahead, w.ahead)
		}
	}
	return ahead
}

// wait returns when a counter of rank q has reached n.
func (l *link) wait(q int, c counter, n uint32) error {
	for range spins {
		if c.reached(n) {
			return nil
		}
	}
	p := newPatience(l.node.job.Timeout())
	for !c.reached(n) {
		d := p.next()
		if d == 0 {
			return group.Timeout{World: l.members[q]}
		}
		start := time.Now()
		c.block(n, d)
		if c.reached(n) {
			return nil
		}
		p.slept(time.Since(start))
		if err := l.checks[q](); err != nil && !c.reached(n) {
			return err
		}
	}
	return nil
}

func (l *link) Post(n uint32, m *group.Message) error {
	for q, w := range l.wires {
		if w != nil {
			if err := w.send(n, m, q); err != nil {
				return err
			}
		}
	}
	if l.shm == nil {
		return nil
	}
	for i, q := range l.ranks {
		if q != l.me {
			if err := l.wait(q, l.shm.seats[i].done, n-group.Depth+1); err != nil {
				return err
			}
		}
	}
	l.shm.write(n, m, l.ranks, l.Window(true))
	return nil
}

func (l *link) Await(n uint32, q int, into *group.Message) (group.View, error) {
	if w := l.wires[q]; w != nil {
		return w.await(n, into, l.checks[q])
	}
	i := l.seats[q]
	if err := l.wait(q, l.shm.seats[i].posted, n+1); err != nil {
		return group.View{}, err
	}
	v, err := l.shm.read(n, i, l.me, l.Window(true), &l.calls[q])
	if err != nil {
		err = fmt.Errorf("%s: %w", l.node.describe(l.members[q]), err)
	}
	return v, err
}

func (l *link) Done(n uint32) {
	if l.shm != nil {
		l.shm.seats[l.shm.me].done.set(n + 1)
	}
}

// Finish waits until what was posted is sent, since this rank may be about to leave, and what was lent is read.
func (l *link) Finish(uint32) error {
	for _, w := range l.wires {
		if w != nil {
			if err := w.backlog.flush(); err != nil {
				return err
			}
		}
	}
	if l.shm != nil {
		return l.finishLent()
	}
	return nil
}

func (l *link) Posted(q int) uint32 {
	if w := l.wires[q]; w != nil {
		return w.posted()
	}
	return l.shm.seats[l.seats[q]].posted.value.Load()
}

func (l *link) Close() error {
	var errs []error
	for _, w := range l.wires {
		if w != nil {
			w.close()
		}
	}
	if l.shm != nil {
		l.stop()
		errs = append(errs, unmap(l.shm.mem))
	}
	return errors.Join(errs...)
}
