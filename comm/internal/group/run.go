// SPDX-License-Identifier: Apache-2.0

package group

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

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
	stream device.HostStream
	run    func() error // c.execute, bound once

	sig      Call
	dst, src [][]byte
	types    []dtype.Type
	layout   Layout // of what one rank reads of another

	first    uint32 // round in which the call began
	at       uint32 // round that it waits for
	messages [2]Message
	slices   [2]Layout // of an all-reduce's two phases
	bufs     [2][][]byte
	views    []View // by rank, of the current round
	parts    [][]byte
}

func newCall(g *Group) *call {
	c := &call{g: g, views: make([]View, g.Size()), parts: make([][]byte, g.Size())}
	c.bufs = [2][][]byte{make([][]byte, 1), make([][]byte, 1)}
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
	c.stream = nil
}

func (c *call) add(dst, src *tensor.Tensor, elems int) {
	c.dst = append(c.dst, c.stream.Bytes(dst))
	c.src = append(c.src, c.stream.Bytes(src))
	c.types = append(c.types, src.Type)
	c.sig.add(src.Type, elems)
}

// title names the call in errors.
func (c *call) title() string {
	return fmt.Sprintf("%v #%d of group %q (%d bytes)", c.sig.Kind, c.sig.Seq, c.g.Name(), c.sig.Bytes)
}

// execute runs the call on its stream.
func (c *call) execute() error {
	g := c.g
	if err := g.take(c); err != nil {
		return c.abort(err)
	}
	err := g.job.Cause()
	if err == nil {
		err = c.collect()
	}
	if err != nil {
		err = c.abort(err)
	}
	if ferr := g.link.Finish(g.round); err == nil && ferr != nil {
		err = c.abort(ferr)
		g.link.Finish(g.round) // now that the others know
	}
	g.give(c, err == nil)
	return err
}

// collect goes through the rounds of the call.
func (c *call) collect() error {
	g := c.g
	c.first, c.at = g.round, g.round
	if c.sig.Kind == comm.AllReduce && (c.layout.Total > directBytes || g.lends()) {
		return newSliced(c).run()
	}
	return c.exchange()
}

// lends reports whether peers read this rank's memory itself.
func (g *Group) lends() bool { return g.link.Window(true) == math.MaxInt }

// exchange is every collective in which a rank reads what the others have and
// is done: all but a large all-reduce. A message is posted one round ahead, so
// that copying in overlaps with the others' copying out.
func (c *call) exchange() error {
	g := c.g
	addressed := c.sig.Kind == comm.ReduceScatter || c.sig.Kind == comm.AllToAll
	window := g.link.Window(addressed)
	total := c.layout.Total
	rounds := 1
	if total > window {
		rounds = (total + window - 1) / window
	}
	start := g.round
	g.round += uint32(rounds)
	post := func(k int) error {
		if k > 0 && !c.speaks(g.Rank()) {
			return nil
		}
		m := &c.messages[k%2]
		*m = Message{Bufs: c.src, Layout: &c.layout, Addressed: addressed}
		if k == 0 {
			m.Call = &c.sig
		}
		if c.speaks(g.Rank()) {
			m.Lo, m.Hi = k*window, total
			if total-m.Lo > window {
				m.Hi = m.Lo + window
			}
		}
		return g.link.Post(start+uint32(k), m)
	}
	if err := post(0); err != nil {
		return err
	}
	for k := range rounds {
		n := start + uint32(k)
		if k+1 < rounds {
			if err := post(k + 1); err != nil {
				return err
			}
		}
		lo, hi := k*window, total
		if total-lo > window {
			hi = lo + window
		}
		for i := 1; i < g.Size(); i++ {
			q := (g.Rank() + i) % g.Size()
			if k == 0 || c.speaks(q) {
				if err := c.await(n, q, k == 0); err != nil {
					return err
				}
			}
		}
		c.consume(lo, hi)
		g.link.Done(n)
	}
	return nil
}

// speaks reports whether rank q has data for the others.
func (c *call) speaks(q int) bool {
	return c.sig.Kind != comm.Barrier && (c.sig.Kind != comm.Broadcast || q == int(c.sig.Root))
}

// await puts rank q's message into views and, in the first round of a call,
// compares the calls.
func (c *call) await(n uint32, q int, first bool) (err error) {
	c.at = n
	c.views[q], err = c.g.link.Await(n, q)
	if err != nil || !first || *c.views[q].Call == c.sig {
		return err
	}
	a, b, ra, rb := &c.sig, c.views[q].Call, c.g.self(), c.g.members[q]
	if rb < ra {
		a, b, ra, rb = b, a, rb, ra
	}
	detail := ""
	if x, y := a.String(), b.String(); x == y {
		detail = " (the lists differ further on)"
	}
	return fmt.Errorf("ranks make different calls: rank %d calls %v; rank %d calls %v%s", ra, a, rb, b, detail)
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
				copyUnlessSame(c.dst[i][q*size+a:q*size+b], c.part(q, me, i, c.src[i], a, b))
			}
		case comm.AllToAll:
			own := c.src[i][me*size : (me+1)*size]
			for q := range c.views {
				copyUnlessSame(c.dst[i][q*size+a:q*size+b], c.part(q, me, i, own, a, b))
			}
		case comm.Broadcast:
			if root := int(c.sig.Root); me != root {
				copy(c.dst[i][a:b], c.views[root].Bytes(&c.layout, i, a, b))
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

func copyUnlessSame(dst, src []byte) {
	if &dst[0] != &src[0] {
		copy(dst, src)
	}
}

// abort ends the job with what went wrong in this call, unless it has ended
// before, and returns the error of this rank's stream.
func (c *call) abort(err error) error {
	var aborted *comm.AbortError
	if !errors.As(err, &aborted) {
		if errors.Is(err, ErrTimeout) {
			err = c.missing()
		}
		err = fmt.Errorf("%s: %w", c.title(), err)
		if aborted = c.g.job.Abort(c.g.self(), err); aborted.Err == err {
			return err
		}
	}
	return fmt.Errorf("%s: %w", c.title(), aborted)
}

// missing is the text of a deadline: who is not there, and who is.
func (c *call) missing() error {
	g := c.g
	name := func(round uint32) (late, here []int) {
		for q, r := range g.members {
			if q == g.Rank() || g.link.Arrived(round, q) {
				here = append(here, r)
			} else {
				late = append(late, r)
			}
		}
		return late, here
	}
	what := "not arrived"
	late, here := name(c.first)
	if len(late) == 0 {
		what = "stopped within the call"
		late, here = name(c.at)
	}
	if len(late) == 0 {
		return fmt.Errorf("the ranks stopped within the call for %v", g.job.Timeout())
	}
	have := "has"
	if len(late) > 1 {
		have = "have"
	}
	return fmt.Errorf("%s %s %s after %v; arrived: %s", ranks(late), have, what, g.job.Timeout(), list(here))
}

func ranks(rs []int) string {
	if len(rs) == 1 {
		return "rank " + list(rs)
	}
	return "ranks " + list(rs)
}

func list(rs []int) string {
	rs = slices.Sorted(slices.Values(rs))
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(rs), " ", ", "), "[]")
}
