// SPDX-License-Identifier: Apache-2.0

package group

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// Group is a comm.Comm over a Link.
type Group struct {
	link    Link
	hosts   *hosts // nil: ranks talk to each other directly
	net     Net
	job     *Job
	members []int  // ranks of the world
	id      string // unique in the job
	root    bool   // made by New: closes the net
	name    atomic.Pointer[string]

	mu     sync.Mutex
	turn   sync.Cond
	queued uint64  // calls enqueued
	ran    uint64  // calls finished
	free   []*call // recycled
	splits int
	kids   []*Group

	round uint32 // of the call whose turn it is
	acc   accumulator
}

var (
	_ comm.Comm    = (*Group)(nil)
	_ comm.Control = (*Group)(nil)
)

// New makes the group of all ranks of a job.
func New(name string, members []int, link Link, net Net, job *Job) *Group {
	g := newGroup(name, members, link, net, job)
	g.root = true
	return g
}

func newGroup(id string, members []int, link Link, net Net, job *Job) *Group {
	g := &Group{link: link, net: net, job: job, members: members, id: id}
	g.turn.L = &g.mu
	g.SetName(id)
	return g
}

// Rank is this rank in the group.
func (g *Group) Rank() int { return g.link.Rank() }

// Size is the number of ranks.
func (g *Group) Size() int { return g.link.Size() }

// Name is what errors call the group.
func (g *Group) Name() string { return *g.name.Load() }

// SetName changes it.
func (g *Group) SetName(name string) { g.name.Store(&name) }

// SetTimeout sets the deadline of every wait in the job on this rank.
func (g *Group) SetTimeout(d time.Duration) { g.job.SetTimeout(d) }

// Abort ends the whole job.
func (g *Group) Abort(cause error) { g.job.Abort(g.self(), cause) }

// self is this rank in the world.
func (g *Group) self() int { return g.members[g.Rank()] }

// Close releases the group, the groups split from it, and for the first group
// what the job holds.
func (g *Group) Close() error {
	g.mu.Lock()
	kids := g.kids
	g.kids = nil
	g.mu.Unlock()
	var errs []error
	for _, k := range kids {
		errs = append(errs, k.Close())
	}
	errs = append(errs, g.hosts.close(), g.link.Close())
	if g.root {
		errs = append(errs, g.net.Close())
	}
	return errors.Join(errs...)
}

// AllGather implements comm.Comm.
func (g *Group) AllGather(s device.Stream, dst, src []*tensor.Tensor) {
	g.sameLength("all-gather", dst, src)
	c := g.call(s, comm.AllGather, comm.Sum, 0)
	for i := range src {
		g.factor("all-gather", dst[i], src[i], g.Size(), 1)
		c.add(dst[i], src[i], src[i].Bytes())
	}
	g.enqueue(c)
}

// ReduceScatter implements comm.Comm.
func (g *Group) ReduceScatter(s device.Stream, dst, src []*tensor.Tensor, op comm.Op) {
	g.sameLength("reduce-scatter", dst, src)
	c := g.call(s, comm.ReduceScatter, op, 0)
	for i := range src {
		g.factor("reduce-scatter", dst[i], src[i], 1, g.Size())
		reducible("reduce-scatter", src[i], op)
		c.add(dst[i], src[i], dst[i].Bytes())
	}
	g.enqueue(c)
}

// AllReduce implements comm.Comm.
func (g *Group) AllReduce(s device.Stream, ts []*tensor.Tensor, op comm.Op) {
	c := g.call(s, comm.AllReduce, op, 0)
	for _, t := range ts {
		reducible("all-reduce", t, op)
		c.add(t, t, t.Bytes())
	}
	g.enqueue(c)
}

// Broadcast implements comm.Comm.
func (g *Group) Broadcast(s device.Stream, t *tensor.Tensor, root int) {
	if root < 0 || root >= g.Size() {
		panic(fmt.Sprintf("comm: broadcast of %v from rank %d of a group of %d", t, root, g.Size()))
	}
	c := g.call(s, comm.Broadcast, comm.Sum, root)
	c.add(t, t, t.Bytes())
	g.enqueue(c)
}

// AllToAll implements comm.Comm.
func (g *Group) AllToAll(s device.Stream, dst, src []*tensor.Tensor) {
	g.sameLength("all-to-all", dst, src)
	c := g.call(s, comm.AllToAll, comm.Sum, 0)
	for i := range src {
		g.factor("all-to-all", dst[i], src[i], 1, 1)
		if src[i].Numel()%g.Size() != 0 {
			panic(fmt.Sprintf("comm: all-to-all of %v among %d ranks: its elements do not divide", src[i], g.Size()))
		}
		c.add(dst[i], src[i], src[i].Bytes()/g.Size())
	}
	g.enqueue(c)
}

// Barrier implements comm.Comm.
func (g *Group) Barrier(s device.Stream) {
	g.enqueue(g.call(s, comm.Barrier, comm.Sum, 0))
}

func (g *Group) sameLength(what string, dst, src []*tensor.Tensor) {
	if len(dst) != len(src) {
		panic(fmt.Sprintf("comm: %s to %d tensors from %d", what, len(dst), len(src)))
	}
}

// factor panics unless dst has a/b times the elements of src and its type.
func (g *Group) factor(what string, dst, src *tensor.Tensor, a, b int) {
	if dst.Type != src.Type || dst.Numel()*b != src.Numel()*a {
		panic(fmt.Sprintf("comm: %s among %d ranks to %v from %v", what, g.Size(), dst, src))
	}
}

func reducible(what string, t *tensor.Tensor, op comm.Op) {
	switch {
	case t.Type == dtype.Float32, t.Type == dtype.BFloat16:
	case t.Type == dtype.Int32 && what == "all-reduce" && op != comm.Avg:
	default:
		panic(fmt.Sprintf("comm: %s %v of %v", what, op, t))
	}
}

// call takes a recycled call. Its sequence number is given by enqueue.
func (g *Group) call(s device.Stream, k comm.Kind, op comm.Op, root int) *call {
	host, ok := s.(device.HostStream)
	if !ok && g.Size() > 1 {
		panic(fmt.Sprintf("comm: %v among %d ranks on a %T, which is not a host stream", k, g.Size(), s))
	}
	g.mu.Lock()
	var c *call
	if n := len(g.free); n > 0 {
		c, g.free = g.free[n-1], g.free[:n-1]
	} else {
		c = newCall(g)
	}
	g.mu.Unlock()
	c.stream, c.host = s, host
	c.sig = Call{Kind: k, Op: op, Root: int32(root)}
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
