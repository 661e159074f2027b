// SPDX-License-Identifier: Apache-2.0

package group

import (
	"math"

	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// directBytes is the largest all-reduce in which every rank sums everything
// itself: one round instead of two.
const directBytes = 16 << 10

// call is one collective of one rank, from its enqueuing to its end.
type call struct {
	g      *Group
	stream device.Stream
	host   device.HostStream // stream, or nil where a group of one has another
	run    func() error      // c.execute, bound once

	sig      Call
	dst, src [][]byte
	types    []dtype.Type
	layout   Layout // of what one rank reads of another

	root     int // of a broadcast, in the group
	base     int // of an all-gather: rank q's slot is base + q*stride
	stride   int
	first    uint32 // round in which the call began
	messages [2]Message
	views    []View // by rank, of the current round
	parts    [][]byte

	inner, outer *call  // parts of the call, in a group over hosts
	sums         *chain // likewise
}

func newCall(g *Group) *call {
	c := &call{g: g, stride: 1, views: make([]View, g.Size()), parts: make([][]byte, g.Size())}
	c.run = c.execute
	return c
}

func (c *call) reset() {
	clear(c.dst)
	clear(c.src)
	clear(c.views)
	clear(c.parts)
	c.dst, c.src, c.types = c.dst[:0], c.src[:0], c.types[:0]
	c.layout.reset()
	c.stream, c.host = nil, nil
	c.base, c.stride = 0, 1
	for _, s := range []*call{c.inner, c.outer} {
		if s != nil {
			s.reset()
		}
	}
}

// add enters one more tensor, of which a rank reads size bytes of another. A
// group of one is served by the stream itself.
func (c *call) add(dst, src *tensor.Tensor, size int) {
	c.sig.add(src.Type, src.Numel())
	if c.g.Size() == 1 {
		if !comm.InPlace(dst, src, 0) {
			c.stream.Copy(dst, src)
		}
		return
	}
	c.dst = append(c.dst, c.host.Bytes(dst))
	c.src = append(c.src, c.host.Bytes(src))
	c.types = append(c.types, src.Type)
	c.layout.add(size)
}

// execute runs the call on its stream.
func (c *call) execute() error {
	g := c.g
	if err := g.take(c); err != nil {
		return c.abort(err)
	}
	err := g.job.Cause()
	if err == nil && g.Size() > 1 {
		err = c.move()
	}
	if err != nil {
		err = c.abort(err)
	}
	if ferr := g.link.Finish(g.round); err == nil && ferr != nil {
		err = c.abort(ferr)
		_ = g.link.Finish(g.round) // now that the others know
	}
	g.give(c, err == nil)
	return err
}

// move goes through the rounds of the call.
func (c *call) move() error {
	g := c.g
	c.first = g.round
	c.root = int(c.sig.Root)
	if c.betweenHosts() {
		return c.moveBetweenHosts()
	}
	if c.sig.Kind == comm.AllReduce && (c.layout.Total > directBytes || g.lends()) {
		return newSliced(c).run()
	}
	return c.exchange()
}

// lends reports whether peers read this rank's memory itself.
func (g *Group) lends() bool { return g.link.Window(true) == math.MaxInt }

// exchange is every collective in which a rank reads what the others have and
// is done: all but a large all-reduce. Messages are posted ahead, so that copying
// in overlaps with the others' copying out, and a long way between hosts is filled.
func (c *call) exchange() error {
	g, me := c.g, c.g.Rank()
	window := g.link.Window(c.addressed())
	rounds := 1 + max(c.layout.Total-1, 0)/window
	start := g.round
	g.round += uint32(rounds)
	posted := 0
	for k := range rounds {
		n := start + uint32(k)
		for ; posted < rounds && posted <= k+g.link.Ahead(); posted++ {
			if posted > 0 && !c.speaks(me) {
				continue
			}
			if posted > k+1 && c.arrived(n) { // nearer memory first
				break
			}
			if err := c.post(start, posted, window); err != nil {
				return err
			}
		}
		for i := 1; i < g.Size(); i++ {
			if q := (me + i) % g.Size(); k == 0 || c.speaks(q) {
				if err := c.await(n, q, k == 0); err != nil {
					return err
				}
			}
		}
		lo := k * window
		c.consume(lo, lo+min(c.layout.Total-lo, window))
		g.link.Done(n)
	}
	return nil
}

// arrived reports whether the messages of round n are there.
func (c *call) arrived(n uint32) bool {
	for q := range c.g.Size() {
		if q != c.g.Rank() && c.speaks(q) && int32(c.g.link.Posted(q)-n) <= 0 {
			return false
		}
	}
	return true
}

// post posts this rank's message k of an exchange that began in round start.
func (c *call) post(start uint32, k, window int) error {
	m := &c.messages[k%2]
	*m = Message{Bufs: c.src, Layout: &c.layout, Addressed: c.addressed()}
	if c.speaks(c.g.Rank()) {
		m.Lo = k * window
		m.Hi = m.Lo + min(c.layout.Total-m.Lo, window)
	}
	if k == 0 {
		m.Call = &c.sig
	}
	return c.g.link.Post(start+uint32(k), m)
}

// addressed reports whether each rank reads only its slots of the others.
func (c *call) addressed() bool {
	return c.sig.Kind == comm.ReduceScatter || c.sig.Kind == comm.AllToAll
}

// speaks reports whether rank q has data for the others.
func (c *call) speaks(q int) bool {
	return c.sig.Kind != comm.Barrier && (c.sig.Kind != comm.Broadcast || q == c.root)
}

// await puts rank q's message into views and, in the first round of a call,
// compares the calls.
func (c *call) await(n uint32, q int, first bool) (err error) {
	c.views[q], err = c.g.link.Await(n, q)
	if err != nil || !first || *c.views[q].Call == c.sig {
		return err
	}
	return c.mismatch(q, c.views[q].Call)
}

// consume makes bytes lo to hi of the result from the views.
func (c *call) consume(lo, hi int) {
	me := c.g.Rank()
	for i, size := range c.layout.Len {
		a, b := c.layout.Span(i, lo, hi)
		if a >= b {
			continue
		}
		switch c.sig.Kind {
		case comm.AllGather:
			for q := range c.views {
				if slot := c.dst[i][(c.base+q*c.stride)*size:]; q != me || &slot[0] != &c.src[i][0] { // see comm.InPlace
					copy(slot[a:b], c.part(q, me, i, c.src[i], a, b))
				}
			}
		case comm.AllToAll:
			own := c.src[i][me*size : (me+1)*size]
			for q := range c.views {
				copy(c.dst[i][q*size+a:q*size+b], c.part(q, me, i, own, a, b))
			}
		case comm.Broadcast:
			if me != c.root {
				copy(c.dst[i][a:b], c.views[c.root].Bytes(&c.layout, i, a, b))
			}
		case comm.ReduceScatter, comm.AllReduce:
			own := c.src[i]
			if c.sig.Kind == comm.ReduceScatter {
				own = own[me*size : (me+1)*size]
			}
			for q := range c.parts {
				c.parts[q] = c.part(q, me, i, own, a, b)
			}
			reduce(c.dst[i][a:b], c.parts, c.types[i], c.sig.Op, &c.g.acc)
		}
	}
}

// part is bytes a to b of what rank q contributes to tensor i.
func (c *call) part(q, me, i int, own []byte, a, b int) []byte {
	if q == me {
		return own[a:b]
	}
	return c.views[q].Bytes(&c.layout, i, a, b)
}
