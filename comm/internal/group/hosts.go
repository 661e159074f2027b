// SPDX-License-Identifier: Apache-2.0

package group

import (
	"context"
	"errors"
	"slices"

	"octet/comm"
	"octet/dtype"
)

// A group over several hosts, with the same number L > 1 of ranks on each and in
// the order of the hosts, sends each byte once between two hosts, whatever L is.
// Ranks h*L .. h*L+L-1 of host h form a group of their own, inner, over shared
// memory, and the i-th ranks of all hosts one, outer, over TCP: L streams side by
// side.
//
//	all-gather      outer: my shard to the i-th ranks; inner: all that these have
//	broadcast       outer: to the i-th ranks, if the root is one; inner: from there
//	reduce-scatter  a chain, see chain.go
//	all-reduce      a chain; inner: the i-th slice from the i-th rank
//
// For a result of n bytes and two hosts an all-gather sends n/2 either way. The
// others (all-to-all, where every pair has bytes of its own; barriers and
// all-reduces that are too small to matter; bfloat16 sums, whose partial sums would
// be float32) and other groups go from each rank to each.
type hosts struct {
	inner, outer *Group
	count, local int // hosts, and ranks on each
	host, index  int // this rank's
}

// JoinHosts makes the groups within and between the hosts of g; every member calls
// it. Without several hosts of several ranks it does nothing.
func (g *Group) JoinHosts(ctx context.Context) error {
	here, across := g.net.Hosts(g.members)
	if here == nil {
		return nil
	}
	h := &hosts{count: len(across), local: len(here), host: slices.Index(across, g.self()), index: slices.Index(here, g.self())}
	join := func(name string, members []int) (*Group, error) {
		link, err := g.net.Link(ctx, g.id+name, members)
		if err != nil {
			return nil, err
		}
		return New(newControl(g.id+name, members, g.self(), g.net, g.job, g.waits), link), nil
	}
	var err error
	if h.inner, err = join(" inner", here); err != nil {
		return err
	}
	if h.outer, err = join(" outer", across); err != nil {
		return errors.Join(err, h.inner.link.Close())
	}
	g.hosts = h
	return nil
}

func (h *hosts) close() error {
	if h == nil {
		return nil
	}
	return errors.Join(h.inner.link.Close(), h.outer.link.Close())
}

// betweenHosts reports whether hosts do the call together, and not each rank with
// each.
func (c *call) betweenHosts() bool {
	switch {
	case c.g.hosts == nil:
		return false
	case c.sig.Kind == comm.AllGather, c.sig.Kind == comm.Broadcast:
		return true
	case slices.Contains(c.types, dtype.BFloat16):
		return false
	}
	return c.sig.Kind == comm.ReduceScatter || c.sig.Kind == comm.AllReduce && c.layout.Total > directBytes
}

// moveBetweenHosts goes through the rounds of such a call.
func (c *call) moveBetweenHosts() error {
	if err := c.agree(); err != nil {
		return err
	}
	switch c.sig.Kind {
	case comm.AllGather:
		return c.gatherHosts()
	case comm.Broadcast:
		return c.broadcastHosts()
	}
	return c.chain()
}

// agree compares the calls of all ranks, which may want their data to go different
// ways, in a round of its own.
func (c *call) agree() error {
	g := c.g
	n := g.round
	g.round++
	m := &c.messages[0]
	*m = Message{Layout: &c.layout, Call: &c.sig}
	if err := g.link.Post(n, m); err != nil {
		return err
	}
	for i := 1; i < g.Size(); i++ {
		if err := c.await(n, (g.Rank()+i)%g.Size(), true); err != nil {
			return err
		}
	}
	g.link.Done(n)
	return nil
}

// subcall is a part of c that is done in one of the groups of hosts. It shows the
// signature of the whole, which all ranks must have alike.
func (c *call) subcall(g *Group) *call {
	h := c.g.hosts
	slot := &c.inner
	if g == h.outer {
		slot = &c.outer
	}
	if *slot == nil {
		*slot = newCall(g)
		(*slot).waiting = c.waiting
	}
	s := *slot
	s.reset()
	s.sig, s.first, s.types = c.sig, g.round, append(s.types, c.types...)
	return s
}

func (c *call) gatherHosts() error {
	h := c.g.hosts
	out := c.subcall(h.outer)
	out.base, out.stride = h.index, h.local
	for t, size := range c.layout.Len {
		out.dst, out.src = append(out.dst, c.dst[t]), append(out.src, c.src[t])
		out.layout.add(size)
	}
	if err := out.exchange(); err != nil {
		return err
	}
	in := c.subcall(h.inner)
	for t, size := range c.layout.Len {
		for q := range h.count {
			region := c.dst[t][q*h.local*size : (q+1)*h.local*size]
			in.dst = append(in.dst, region)
			in.src = append(in.src, region[h.index*size:(h.index+1)*size])
			in.layout.add(size)
		}
	}
	return in.exchange()
}

func (c *call) broadcastHosts() error {
	h := c.g.hosts
	for _, g := range []*Group{h.outer, h.inner} {
		s := c.subcall(g)
		s.dst, s.src = append(s.dst, c.dst...), append(s.src, c.src...)
		s.layout.add(c.layout.Total)
		if s.root = int(c.sig.Root) % h.local; g == h.outer {
			if s.root != h.index {
				continue
			}
			s.root = int(c.sig.Root) / h.local
		}
		if err := s.exchange(); err != nil {
			return err
		}
	}
	return nil
}
