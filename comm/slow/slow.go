// SPDX-License-Identifier: Apache-2.0

// Package slow makes a communicator as slow as a network that is not there: each collective
// takes a latency, and its bytes pass a link of limited bandwidth that the rank's groups share.
// It is for measuring what overlaps with what on a machine whose ranks meet in memory:
//
//	link := slow.NewLink(time.Millisecond, 1e9)       // 1 GB/s
//	c := slow.New(world, link)                        // groups split from c too
//	c.AllGather(s, dst, src)                          // takes at least as long as there
//
// The wait is work of the collective's stream, in front of the collective itself, so other streams go on meanwhile.
package slow

import (
	"fmt"
	"sync"
	"time"

	"octet/comm"
	"octet/device"
	"octet/tensor"
)

// Link is what a rank is connected by. Messages of its groups pass it one after the other; latencies overlap.
type Link struct {
	latency   time.Duration
	bandwidth float64 // bytes a second

	mu   sync.Mutex
	free time.Time // when what it was given has passed
}

// NewLink is a link of so much latency a collective, and so many bytes a second in each direction.
func NewLink(latency time.Duration, bandwidth float64) *Link {
	if latency < 0 || !(bandwidth > 0) {
		panic(fmt.Sprintf("slow: a link with a latency of %v and %v bytes a second: want none that is negative, and a bandwidth", latency, bandwidth))
	}
	return &Link{latency: latency, bandwidth: bandwidth}
}

// pass is when bytes that come at a time have arrived.
func (l *Link) pass(at time.Time, bytes float64) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.free.Before(at) {
		l.free = at
	}
	l.free = l.free.Add(time.Duration(bytes / l.bandwidth * float64(time.Second)))
	return l.free.Add(l.latency)
}

// New is c over a link. Its streams are a device.HostStream each. The result implements comm.Control if c does.
func New(c comm.Comm, link *Link) comm.Comm {
	s := &slow{Comm: c, link: link}
	if control, ok := c.(comm.Control); ok {
		return struct {
			*slow
			comm.Control
		}{s, control}
	}
	return s
}

// slow is a comm.Comm that waits.
type slow struct {
	comm.Comm
	link *Link
}

// wait holds the stream for a collective in which the rank receives so many bytes, as a ring does: of w ranks' data
// all but its own.
func (c *slow) wait(on device.Stream, times int, whole []*tensor.Tensor) {
	if c.Size() == 1 {
		return
	}
	bytes := 0
	for _, t := range whole {
		bytes += t.Bytes()
	}
	received := float64(times*bytes) * float64(c.Size()-1) / float64(c.Size())
	on.(device.HostStream).Call("slow", func() error {
		sleep(c.link.pass(time.Now(), received))
		return nil
	})
}

func (c *slow) AllGather(s device.Stream, dst, src []*tensor.Tensor) {
	c.wait(s, 1, dst)
	c.Comm.AllGather(s, dst, src)
}

func (c *slow) ReduceScatter(s device.Stream, dst, src []*tensor.Tensor, op comm.Op) {
	c.wait(s, 1, src)
	c.Comm.ReduceScatter(s, dst, src, op)
}

// AllReduce is a reduce-scatter and an all-gather.
func (c *slow) AllReduce(s device.Stream, ts []*tensor.Tensor, op comm.Op) {
	c.wait(s, 2, ts)
	c.Comm.AllReduce(s, ts, op)
}

func (c *slow) Broadcast(s device.Stream, t *tensor.Tensor, root int) {
	c.wait(s, 1, comm.T(t))
	c.Comm.Broadcast(s, t, root)
}

func (c *slow) AllToAll(s device.Stream, dst, src []*tensor.Tensor) {
	c.wait(s, 1, dst)
	c.Comm.AllToAll(s, dst, src)
}

func (c *slow) Barrier(s device.Stream) {
	c.wait(s, 1, nil)
	c.Comm.Barrier(s)
}

// Split makes groups over the same link.
func (c *slow) Split(color, key int) (comm.Comm, error) {
	g, err := c.Comm.Split(color, key)
	if g == nil || err != nil {
		return nil, err
	}
	return New(g, c.link), nil
}
