// SPDX-License-Identifier: Apache-2.0

package group

import "octet/comm"

// chain sums over hosts in the order of ranks, which fixes the bits: the i-th rank
// of a host adds what the ranks of its host have to what the host before it sent,
// and sends that on. The sums of the last host go back to who wants them.
//
//	up k    post piece k to the others of the host; take the partial sum of the
//	        host before; add the pieces of this host; send on, or back
//	down k  take the sum; all-reduce: send it on to the host before, and share it
//	        with the others of the host
//
// Of an all-reduce, a piece is a block of the layout in as many slices as a host
// has ranks, the i-th being the i-th rank's to sum. Of a reduce-scatter, it is a
// window of the slots of one host, the i-th being the i-th rank's.
//
// With two hosts, n bytes go up (a reduce-scatter's n are those that a rank gives)
// and n/2 or, of an all-reduce, n come back. Sums by blocks of the hosts could save
// a part, but have other bits.
//
// down k follows up k+chainAhead, on all ranks alike: so many pieces are under way
// between the hosts.
type chain struct {
	c, in, out *call
	window     int // bytes of a slice
	pieces     int
	slots      int // of a reduce-scatter: pieces of a host's slots
	inRound    uint32
	outRound   uint32
	acc        []byte // the sums of a slice
	accLayout  Layout
	regions    [][]byte
	message    [3]Message // to the ranks of the host, of acc, of a sum that is passed on
}

// chainAhead is at most what a link between hosts may have under way.
const chainAhead = 16

func (c *call) chain() error {
	h := c.g.hosts
	if c.sums == nil {
		c.sums = &chain{}
	}
	s := c.sums
	s.c, s.in, s.out = c, c.subcall(h.inner), c.subcall(h.outer)
	s.window = min(h.inner.link.Window(true), h.outer.link.Window(false))
	total := c.layout.Total
	if c.sig.Kind == comm.AllReduce {
		s.pieces = 1 + max(total-1, 0)/(s.window*h.local)
	} else {
		s.slots = 1 + max(total-1, 0)/s.window
		s.pieces = s.slots * h.count
	}
	s.inRound, s.outRound = h.inner.round, h.outer.round
	h.outer.round += uint32(2 * s.pieces)
	if len(s.acc) < s.window {
		s.acc = make([]byte, s.window)
	}
	for k := range s.pieces + chainAhead {
		if k < s.pieces {
			if err := s.up(k); err != nil {
				return err
			}
		}
		if j := k - chainAhead; j >= 0 {
			if err := s.down(j); err != nil {
				return err
			}
		}
	}
	h.inner.round = s.inRound
	return nil
}

// piece makes m the message of piece k to the others of the host, and returns the
// range of the layout that this rank sums and, of a reduce-scatter, whose host's
// slots it is of.
func (s *chain) piece(k int, m *Message) (lo, hi, host int) {
	c, h := s.c, s.c.g.hosts
	if c.sig.Kind == comm.AllReduce {
		block := s.window * h.local
		from := k * block
		to := min(from+block, c.layout.Total)
		*m = Message{Bufs: c.src, Layout: &c.layout, Lo: from, Hi: to, Slice: align((to - from + h.local - 1) / h.local)}
		lo, hi = m.Range(h.index)
		return lo, hi, -1
	}
	host = k / s.slots
	lo = k % s.slots * s.window
	hi = lo + min(c.layout.Total-lo, s.window)
	s.regions = s.regions[:0]
	for t, size := range c.layout.Len {
		s.regions = append(s.regions, c.src[t][host*h.local*size:(host+1)*h.local*size])
	}
	*m = Message{Bufs: s.regions, Layout: &c.layout, Lo: lo, Hi: hi, Addressed: true}
	return lo, hi, host
}

func (s *chain) upRound(k int) uint32   { return s.outRound + uint32(2*k) }
func (s *chain) downRound(k int) uint32 { return s.outRound + uint32(2*k+1) }

func (s *chain) up(k int) error {
	c, h := s.c, s.c.g.hosts
	m := &s.message[0]
	lo, hi, host := s.piece(k, m)
	n := s.inRound
	s.inRound++
	if err := h.inner.link.Post(n, m); err != nil {
		return err
	}
	if h.host > 0 && lo < hi {
		if err := s.out.await(s.upRound(k), h.host-1, false); err != nil {
			return err
		}
	}
	for i := 1; i < h.local; i++ {
		if q := (h.index + i) % h.local; lo < hi {
			if err := s.in.await(n, q, false); err != nil {
				return err
			}
		}
	}
	s.sum(m, lo, hi)
	h.inner.link.Done(n)
	h.outer.link.Done(s.upRound(k))
	if h.host < h.count-1 {
		return s.send(s.upRound(k), h.host+1, s.acc[:hi-lo])
	}
	if c.sig.Kind == comm.AllReduce {
		s.keep(lo, hi, s.acc)
		return s.send(s.downRound(k), h.host-1, s.acc[:hi-lo])
	}
	if host == h.host {
		s.keep(lo, hi, s.acc)
		return nil
	}
	return s.send(s.downRound(k), host, s.acc[:hi-lo])
}

// sum makes acc, bytes lo to hi of the layout, from the partial sum of the host
// before and the pieces of this host's ranks.
func (s *chain) sum(m *Message, lo, hi int) {
	c, h := s.c, s.c.g.hosts
	s.accLayout.reset()
	s.accLayout.add(hi - lo)
	for t := range c.layout.Len {
		a, b := c.layout.Span(t, lo, hi)
		if a >= b {
			continue
		}
		at := c.layout.At[t] + a - lo
		parts := c.parts[:0]
		if h.host > 0 {
			parts = append(parts, s.out.views[h.host-1].Bytes(&s.accLayout, 0, at, at+b-a))
		}
		for q := range h.local {
			if q == h.index {
				parts = append(parts, m.Part(q, t)[a:b])
			} else {
				parts = append(parts, s.in.views[q].Bytes(&c.layout, t, a, b))
			}
		}
		reduce(c.host, s.acc[at:at+b-a], parts, c.types[t], c.sig.Op)
	}
}

// keep copies bytes lo to hi of the layout, which are at the start of b, to the
// result.
func (s *chain) keep(lo, hi int, b []byte) {
	for t := range s.c.layout.Len {
		if from, to := s.c.layout.Span(t, lo, hi); from < to {
			at := s.c.layout.At[t] + from - lo
			copy(s.c.dst[t][from:to], b[at:at+to-from])
		}
	}
}

// send posts b for one host.
func (s *chain) send(n uint32, host int, b []byte) error {
	s.accLayout.reset()
	s.accLayout.add(len(b))
	m := &s.message[1]
	*m = Message{Bufs: append(m.Bufs[:0], b), Layout: &s.accLayout, Hi: len(b), Only: host + 1}
	return s.c.g.hosts.outer.link.Post(n, m)
}

func (s *chain) down(k int) error {
	c, h := s.c, s.c.g.hosts
	m := &s.message[0]
	lo, hi, host := s.piece(k, m)
	reduce := c.sig.Kind == comm.AllReduce
	last := h.count - 1
	if from := last; h.host != last && lo < hi && (reduce || host == h.host) {
		if reduce {
			from = h.host + 1
		}
		sum := Message{Bufs: c.dst, Layout: &c.layout, Lo: lo, Hi: hi}
		if err := s.out.fetch(s.downRound(k), from, sum); err != nil {
			return err
		}
		if reduce && h.host > 0 {
			sum.Only = 1 + (h.host - 1)
			s.message[2] = sum
			if err := h.outer.link.Post(s.downRound(k), &s.message[2]); err != nil {
				return err
			}
		}
	}
	h.outer.link.Done(s.downRound(k))
	if !reduce {
		return nil
	}
	return s.share(*m, lo, hi)
}

// share is the end of an all-reduce's piece within the host: each rank posts its
// slice of the sum and takes those of the others.
func (s *chain) share(piece Message, lo, hi int) error {
	c, h := s.c, s.c.g.hosts
	link, n := h.inner.link, s.inRound
	s.inRound++
	if lo < hi {
		m := &s.message[0]
		*m = Message{Bufs: c.dst, Layout: &c.layout, Lo: lo, Hi: hi}
		if err := link.Post(n, m); err != nil {
			return err
		}
	}
	for i := 1; i < h.local; i++ {
		q := (h.index + i) % h.local
		from, to := piece.Range(q)
		if from >= to {
			continue
		}
		if err := s.in.fetch(n, q, Message{Bufs: c.dst, Layout: &c.layout, Lo: from, Hi: to}); err != nil {
			return err
		}
	}
	link.Done(n)
	return nil
}
