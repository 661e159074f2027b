// SPDX-License-Identifier: Apache-2.0

package group

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"octet/comm"
	"octet/device"
	"octet/tensor"
)

// Group is a comm.Comm over a Link.
type Group struct {
	*Control
	link  Link
	hosts *hosts // nil: ranks talk to each other directly

	mu     sync.Mutex
	turn   sync.Cond
	queued uint64  // calls enqueued
	ran    uint64  // calls finished
	free   []*call // recycled

	round uint32 // of the call whose turn it is
}

var (
	_ comm.Comm    = (*Group)(nil)
	_ comm.Control = (*Group)(nil)
)

// New makes the group of all ranks of a job, which closes c.
func New(c *Control, link Link) *Group {
	g := &Group{Control: c, link: link}
	g.turn.L = &g.mu
	return g
}

// Split implements comm.Comm. It talks over the Net, so it does not wait for
// collectives in flight.
func (g *Group) Split(color, key int) (comm.Comm, error) {
	var child *Group
	err := g.split(color, key, func(ctx context.Context, c *Control) (io.Closer, error) {
		link, err := g.net.Link(ctx, c.id, c.members)
		if err != nil {
			return nil, err
		}
		child = New(c, link)
		if err := child.JoinHosts(ctx); err != nil {
			return nil, errors.Join(err, link.Close())
		}
		return child, nil
	})
	if err != nil || child == nil {
		return nil, err
	}
	return child, nil
}

// Close releases the group, the groups split from it, and for the first group
// what the job holds.
func (g *Group) Close() error {
	return errors.Join(g.closeKids(), g.hosts.close(), g.link.Close(), g.closeNet())
}

// AllGather implements comm.Comm.
func (g *Group) AllGather(s device.Stream, dst, src []*tensor.Tensor) {
	g.do(s, comm.AllGather, comm.Sum, 0, dst, src)
}

// ReduceScatter implements comm.Comm.
func (g *Group) ReduceScatter(s device.Stream, dst, src []*tensor.Tensor, op comm.Op) {
	g.do(s, comm.ReduceScatter, op, 0, dst, src)
}

// AllReduce implements comm.Comm.
func (g *Group) AllReduce(s device.Stream, ts []*tensor.Tensor, op comm.Op) {
	g.do(s, comm.AllReduce, op, 0, ts, ts)
}

// Broadcast implements comm.Comm.
func (g *Group) Broadcast(s device.Stream, t *tensor.Tensor, root int) {
	list := [1]*tensor.Tensor{t}
	g.do(s, comm.Broadcast, comm.Sum, root, list[:], list[:])
}

// AllToAll implements comm.Comm.
func (g *Group) AllToAll(s device.Stream, dst, src []*tensor.Tensor) {
	g.do(s, comm.AllToAll, comm.Sum, 0, dst, src)
}

// Barrier implements comm.Comm.
func (g *Group) Barrier(s device.Stream) { g.do(s, comm.Barrier, comm.Sum, 0, nil, nil) }

// do enqueues a call.
func (g *Group) do(s device.Stream, k comm.Kind, op comm.Op, root int, dst, src []*tensor.Tensor) {
	sig := comm.Describe(k, op, root, g.Size(), dst, src)
	c := g.call(s, k)
	c.sig = sig
	for i := range src {
		c.add(dst[i], src[i])
	}
	g.enqueue(c)
}

// call takes a recycled call. Its sequence number is given by enqueue.
func (g *Group) call(s device.Stream, k comm.Kind) *call {
	host, ok := s.(device.HostStream)
	if !ok && g.Size() > 1 {
		panic(fmt.Sprintf("comm: %v among %d ranks on a %T, which is not a host stream", k, g.Size(), s))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var c *call
	if n := len(g.free); n > 0 {
		c, g.free = g.free[n-1], g.free[:n-1]
	} else {
		c = newCall(g)
	}
	c.stream, c.host = s, host
	return c
}

func (g *Group) enqueue(c *call) {
	g.mu.Lock()
	g.queued++
	c.sig.Seq = g.queued
	g.mu.Unlock()
	if c.host == nil { // alone, with nobody to meet
		g.give(c, true)
		return
	}
	c.host.Call("comm", c.run)
}

// take waits until all earlier calls of the group have run: two streams may
// share a group, and every rank must go through its calls in one order.
func (g *Group) take(c *call) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ran+1 == c.sig.Seq {
		return nil
	}
	late := false
	timeout := g.job.Timeout()
	wake := time.AfterFunc(timeout, func() {
		g.mu.Lock()
		late = true
		g.turn.Broadcast()
		g.mu.Unlock()
	})
	defer wake.Stop()
	stop := g.job.AfterAbort(func() {
		g.mu.Lock()
		g.turn.Broadcast()
		g.mu.Unlock()
	})
	defer stop()
	for g.ran+1 != c.sig.Seq {
		if err := g.job.Cause(); err != nil {
			return err
		}
		if late {
			return fmt.Errorf("call #%d of this rank, on another stream, has not run after %v", g.ran+1, timeout)
		}
		g.turn.Wait()
	}
	return nil
}

// give lets the next call run and, unless it failed, recycles c.
func (g *Group) give(c *call, ok bool) {
	g.mu.Lock()
	g.ran = c.sig.Seq
	if ok {
		c.reset()
		g.free = append(g.free, c)
	}
	g.turn.Broadcast()
	g.mu.Unlock()
}
