// SPDX-License-Identifier: Apache-2.0

package group

// sliced is the all-reduce of large tensors, block by block of their common
// layout. Each rank sums one slice of a block and then collects the slices of
// the others:
//
//	scatter k   post my part of every slice, addressed to its rank
//	sum k       read my slice of all ranks, sum in place
//	spread k    post the sum
//	collect k   read the sums of the others
//
// The next block is scattered before this one is summed, and collected while
// the next is under way, so that a rank rarely waits. Rounds are numbered in
// the order in which they are posted, which is also that of reading:
// scatter 0, scatter 1, spread 0, scatter 2, spread 1, ...
//
// Where slices begin has no influence on sums, which are made element by
// element.
type sliced struct {
	c      *call
	block  int // bytes of the layout
	blocks int
	start  uint32
}

func newSliced(c *call) sliced {
	total, w := c.layout.Total, c.g.Size()
	s := sliced{c: c, block: total, blocks: 1, start: c.g.round}
	if slice := c.g.link.Slice((total + w - 1) / w); slice < (total+w-1)/w {
		s.block = slice * w
		s.blocks = (total + s.block - 1) / s.block
	}
	c.g.round += uint32(2 * s.blocks)
	c.takeOwn(false)
	return s
}

func (s sliced) run() error {
	if err := s.scatter(0); err != nil {
		return err
	}
	for k := range s.blocks {
		if k+1 < s.blocks {
			if err := s.scatter(k + 1); err != nil {
				return err
			}
		}
		if err := s.sum(k); err != nil {
			return err
		}
		if err := s.spread(k); err != nil {
			return err
		}
		if k > 0 {
			if err := s.collect(k - 1); err != nil {
				return err
			}
		}
	}
	return s.collect(s.blocks - 1)
}

// scatterRound and spreadRound number the rounds of block k.
func (s sliced) scatterRound(k int) uint32 { return s.start + uint32(max(2*k-1, 0)) }
func (s sliced) spreadRound(k int) uint32 {
	return s.start + uint32(min(2*k+2, 2*s.blocks-1))
}

// scattered makes m the message of block k: a slice for each rank, the last
// ones shorter or empty.
func (s sliced) scattered(k int, m *Message) {
	lo := k * s.block
	hi := min(lo+s.block, s.c.layout.Total)
	w := s.c.g.Size()
	*m = Message{Bufs: s.c.src, Layout: &s.c.layout, Lo: lo, Hi: hi, Slice: align((hi - lo + w - 1) / w)}
}

// slice is the range of the layout in block k that rank q sums.
func (s sliced) slice(k, q int) (lo, hi int) {
	var m Message
	s.scattered(k, &m)
	return m.Range(q)
}

func (s sliced) scatter(k int) error {
	m := &s.c.messages[0]
	s.scattered(k, m)
	if k == 0 {
		m.Call = &s.c.sig
	}
	return s.c.g.link.Post(s.scatterRound(k), m)
}

func (s sliced) sum(k int) error {
	c, g, n := s.c, s.c.g, s.scatterRound(k)
	me, w := g.Rank(), g.Size()
	lo, hi := s.slice(k, me)
	for i := 1; i < w; i++ {
		if q := (me + i) % w; k == 0 || lo < hi {
			if err := c.await(n, q, k == 0); err != nil {
				return err
			}
		}
	}
	c.reduce(lo, hi)
	g.link.Done(n)
	return nil
}

func (s sliced) spread(k int) error {
	c := s.c
	lo, hi := s.slice(k, c.g.Rank())
	if lo == hi {
		return nil
	}
	m := &c.messages[1]
	*m = Message{Bufs: c.dst, Layout: &c.layout, Lo: lo, Hi: hi}
	return c.g.link.Post(s.spreadRound(k), m)
}

func (s sliced) collect(k int) error {
	c, g, n := s.c, s.c.g, s.spreadRound(k)
	me, w := g.Rank(), g.Size()
	for j := 1; j < w; j++ {
		q := (me + j) % w
		lo, hi := s.slice(k, q)
		if lo == hi {
			continue
		}
		if err := c.fetch(n, q, Message{Bufs: c.dst, Layout: &c.layout, Lo: lo, Hi: hi}); err != nil {
			return err
		}
	}
	g.link.Done(n)
	return nil
}
