// SPDX-License-Identifier: Apache-2.0

package local

import (
	"math"
	"runtime"
	"sync/atomic"
	"time"

	"octet/comm/internal/group"
)

// hub is what the ranks of one group share.
type hub struct {
	linked int
	seats  []seat
}

// seat is what one rank shows the others. Its owner alone writes posted, done
// and ring; a message is in ring before posted tells of it.
type seat struct {
	posted atomic.Uint32 // rounds whose messages are there
	done   atomic.Uint32 // rounds this rank has read
	reads  atomic.Bool   // the owner may be reading others' memory
	blocks atomic.Bool   // the owner waits for wake
	wake   chan struct{} // holds at most one signal
	ring   [group.Depth]*group.Message
	_      [64]byte // seats share no cache line
}

func newHub(n int) *hub {
	h := &hub{seats: make([]seat, n)}
	for i := range h.seats {
		h.seats[i].wake = make(chan struct{}, 1)
	}
	return h
}

// link is one rank's place in a group: messages are lent.
type link struct {
	hub     *hub
	members []int // ranks of the world
	me      int
	job     *group.Job
	timer   *time.Timer // made by the first wait that blocks
}

var _ group.Link = (*link)(nil)

func (l *link) Rank() int       { return l.me }
func (l *link) Size() int       { return len(l.hub.seats) }
func (l *link) Window(bool) int { return math.MaxInt }
func (l *link) Slice(int) int   { return math.MaxInt }
func (l *link) Ahead() int      { return 1 }
func (l *link) Close() error    { return nil }

func (l *link) Post(n uint32, m *group.Message) error {
	s := &l.hub.seats[l.me]
	s.ring[n%group.Depth] = m
	s.posted.Store(n + 1)
	l.wakeOthers()
	return nil
}

func (l *link) Await(n uint32, q int, _ *group.Message) (group.View, error) {
	s := &l.hub.seats[q]
	if err := l.wait(q, &s.posted, n+1); err != nil {
		return group.View{}, err
	}
	// First say so, then look: after an abort no reading begins, see Finish.
	l.hub.seats[l.me].reads.Store(true)
	if err := l.job.Cause(); err != nil {
		return group.View{}, err
	}
	m := s.ring[n%group.Depth]
	return group.View{Call: m.Call, Lent: m, Reader: l.me}, nil
}

func (l *link) Done(n uint32) {
	l.hub.seats[l.me].reads.Store(false)
	l.hub.seats[l.me].done.Store(n + 1)
	l.wakeOthers()
}

// Finish waits for the others. In an aborted job they may never be done, but
// whoever is reading soon stops, and its owner may then free the memory.
func (l *link) Finish(n uint32) error {
	l.hub.seats[l.me].reads.Store(false)
	var failed error
	for q := range l.hub.seats {
		if failed == nil && q != l.me {
			failed = l.wait(q, &l.hub.seats[q].done, n)
		}
	}
	if failed != nil && l.job.Cause() != nil {
		for q := range l.hub.seats {
			for l.hub.seats[q].reads.Load() {
				runtime.Gosched()
			}
		}
	}
	return failed
}

func (l *link) Posted(q int) uint32 { return l.hub.seats[q].posted.Load() }

// reached compares counters that wrap around.
func reached(counter *atomic.Uint32, n uint32) bool { return int32(counter.Load()-n) >= 0 }

func (l *link) wakeOthers() {
	for q := range l.hub.seats {
		if s := &l.hub.seats[q]; q != l.me && s.blocks.Load() {
			select {
			case s.wake <- struct{}{}:
			default:
			}
		}
	}
}

// spins is how often a wait looks before it blocks, some microseconds.
const spins = 2000

// wait returns when a counter of rank q has reached n.
func (l *link) wait(q int, counter *atomic.Uint32, n uint32) error {
	for range spins {
		if reached(counter, n) {
			return nil
		}
	}
	runtime.Gosched()
	if reached(counter, n) {
		return nil
	}
	if l.timer == nil {
		l.timer = time.NewTimer(l.job.Timeout())
	} else {
		l.timer.Reset(l.job.Timeout())
	}
	defer l.timer.Stop()
	me := &l.hub.seats[l.me]
	me.blocks.Store(true)
	defer me.blocks.Store(false)
	for !reached(counter, n) {
		select {
		case <-me.wake:
		case <-l.job.Done():
			return l.job.Cause()
		case <-l.timer.C:
			if reached(counter, n) {
				return nil
			}
			return group.Timeout{World: l.members[q]}
		}
	}
	return nil
}
