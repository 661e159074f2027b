// SPDX-License-Identifier: Apache-2.0

package group

import (
	"errors"
	"math"
	"sync/atomic"

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

	sig      comm.Call
	dst, src [][]byte
	types    []dtype.Type
	layout   Layout // of what one rank reads of another

	root     int // of a broadcast, in the group
	base     int // of an all-gather: rank q's slot is base + q*stride
	stride   int
	first    uint32 // round in which the call began
	messages [2]Message
	own      Message // what this rank gives itself
	into     Message // where a message of another rank is to lie
	slots    [][]byte
	views    []View // by rank, of the current round
	parts    [][]byte

	waiting      *atomic.Int32 // 1 + the rank of the world whose message this one waits for; 0: none
	inner, outer *call         // parts of the call, in a group over hosts
	sums         *chain        // likewise
}

func newCall(g *Group) *call {
	c := &call{g: g, stride: 1, waiting: &atomic.Int32{}, views: make([]View, g.Size()), parts: make([][]byte, g.Size())}
	c.run = c.execute
	return c
}

func (c *call) reset() {
	clear(c.dst)
	clear(c.src)
	clear(c.views)
	clear(c.parts)
	clear(c.slots)
	c.waiting.Store(0)
	c.own, c.into = Message{}, Message{}
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

// add enters one more tensor. A group of one is served by the stream itself.
func (c *call) add(dst, src *tensor.Tensor) {
	if c.g.Size() == 1 {
		if !comm.InPlace(dst, src, 0) {
			c.stream.Copy(dst, src)
		}
		return
	}
	c.dst = append(c.dst, c.host.Bytes(dst))
	c.src = append(c.src, c.host.Bytes(src))
	c.types = append(c.types, src.Type)
	size := src.Bytes()
	if c.addressed() {
		size /= c.g.Size()
	}
	c.layout.add(size)
}

// execute runs the call on its stream.
func (c *call) execute() error {
	g := c.g
	if err := g.take(c); err != nil {
		return c.abort(err)
	}
	err := g.job.Cause()
	meets := err == nil && g.Size() > 1
	if meets {
		g.waits.begin(c)
		err = c.move()
	}
	if err != nil {
		err = c.abort(err)
	}
	if ferr := g.finish(); err == nil && ferr != nil {
		err = c.abort(ferr)
		_ = g.finish() // now that the others know
	}
	if meets {
		g.waits.end(c)
	}
	g.give(c, err == nil)
	return err
}

// finish ends a call in the group and in those that it was done in.
func (g *Group) finish() error {
	err := g.link.Finish(g.round)
	if h := g.hosts; h != nil {
		err = errors.Join(err, h.inner.link.Finish(h.inner.round), h.outer.link.Finish(h.outer.round))
	}
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
	c.takeOwn(c.addressed())
	posted := 0
	for k := range rounds {
		n, lo := start+uint32(k), k*window
		hi := lo + min(c.layout.Total-lo, window)
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
			q := (me + i) % g.Size()
			var err error
			switch {
			case k == 0, c.sig.Kind.Reduces():
				err = c.await(n, q, k == 0)
			case c.speaks(q):
				err = c.fetch(n, q, c.slot(q, lo, hi))
			}
			if err != nil {
				return err
			}
		}
		if c.sig.Kind.Reduces() {
			c.reduce(lo, hi)
		} else {
			c.keep(lo, hi, k == 0)
		}
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
	g := c.g
	c.views[q], err = c.wait(n, q, nil)
	if err != nil || !first || *c.views[q].Call == c.sig {
		return err
	}
	return comm.Mismatch(g.self(), &c.sig, g.members[q], c.views[q].Call)
}

// wait is the link's Await, of which others may be told, also after it has failed.
func (c *call) wait(n uint32, q int, into *Message) (View, error) {
	c.waiting.Store(int32(1 + c.g.members[q]))
	v, err := c.g.link.Await(n, q, into)
	if err == nil {
		c.waiting.Store(0)
	}
	return v, err
}

// takeOwn makes what this rank gives itself a view like the others' ones.
func (c *call) takeOwn(addressed bool) {
	c.own = Message{Bufs: c.src, Layout: &c.layout, Addressed: addressed}
	c.views[c.g.Rank()] = View{Lent: &c.own, Reader: c.g.Rank()}
}

// fetch copies rank q's message, which is not the first of the call, to into.
func (c *call) fetch(n uint32, q int, into Message) error {
	c.into = into
	v, err := c.wait(n, q, &c.into)
	if err == nil && !v.Placed {
		c.into.scatter(&v)
	}
	return err
}

// slot is where bytes lo to hi of what rank q gives belong, if nothing is summed.
func (c *call) slot(q, lo, hi int) Message {
	c.slots = c.slots[:0]
	for i, size := range c.layout.Len {
		slot := c.dst[i]
		if c.sig.Kind != comm.Broadcast {
			slot = slot[(c.base+q*c.stride)*size:][:size]
		}
		c.slots = append(c.slots, slot)
	}
	return Message{Bufs: c.slots, Layout: &c.layout, Lo: lo, Hi: hi}
}

// keep copies bytes lo to hi of what this rank gives to the result and, in the first
// round, of what the others give: their calls had to be compared.
func (c *call) keep(lo, hi int, first bool) {
	for q := range c.views {
		if c.speaks(q) && (first || q == c.g.Rank()) {
			into := c.slot(q, lo, hi)
			into.scatter(&c.views[q])
		}
	}
}

// reduce makes bytes lo to hi of the result from the views.
func (c *call) reduce(lo, hi int) {
	for i := range c.dst {
		if a, b := c.layout.Span(i, lo, hi); a < b {
			for q := range c.parts {
				c.parts[q] = c.views[q].Bytes(&c.layout, i, a, b)
			}
			reduce(c.host, c.dst[i][a:b], c.parts, c.types[i], c.sig.Op)
		}
	}
}
