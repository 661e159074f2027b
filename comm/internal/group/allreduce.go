// SPDX-License-Identifier: Apache-2.0

package group

// sliced is the all-reduce of a large tensor, block by block. Each rank sums
// one slice of a block and then collects the slices of the others:
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
type sliced struct {
	c      *call
	t      []byte
	block  int
	blocks int
	start  uint32
}

func newSliced(c *call) sliced {
	t, w := c.dst[0], c.g.Size()
	s := sliced{c: c, t: t, block: len(t), blocks: 1, start: c.g.round}
	if window := c.g.link.Window(true); window < (len(t)+w-1)/w {
		s.block = window * w
		s.blocks = (len(t) + s.block - 1) / s.block
	}
	c.g.round += uint32(2 * s.blocks)
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

// bytes is block k, cut into slices of size bytes; the last ones may be short.
func (s sliced) bytes(k int) (b []byte, size int) {
	b = s.t[k*s.block : min((k+1)*s.block, len(s.t))]
	w := s.c.g.Size()
	return b, align((len(b) + w - 1) / w)
}

// slice is the slice of block k that rank q sums.
func (s sliced) slice(k, q int) []byte {
	b, size := s.bytes(k)
	return b[min(q*size, len(b)):min(q*size+size, len(b))]
}

func (s sliced) scatter(k int) error {
	b, size := s.bytes(k)
	m := s.c.message(0, b, size, true)
	if k == 0 {
		m.Call = &s.c.sig
	}
	return s.c.g.link.Post(s.scatterRound(k), m)
}

func (s sliced) sum(k int) error {
	c, g, n := s.c, s.c.g, s.scatterRound(k)
	me, w := g.Rank(), g.Size()
	own := s.slice(k, me)
	for i := 1; i < w; i++ {
		if q := (me + i) % w; k == 0 || len(own) > 0 {
			if err := c.await(n, q, k == 0); err != nil {
				return err
			}
		}
	}
	if len(own) > 0 {
		for q := range c.parts {
			if c.parts[q] = own; q != me {
				c.parts[q] = c.views[q].Bytes(&c.slices[0], 0, 0, len(own))
			}
		}
		reduce(own, c.parts, c.types[0], c.sig.Op, &g.acc)
	}
	g.link.Done(n)
	return nil
}

func (s sliced) spread(k int) error {
	own := s.slice(k, s.c.g.Rank())
	if len(own) == 0 {
		return nil
	}
	return s.c.g.link.Post(s.spreadRound(k), s.c.message(1, own, len(own), false))
}

func (s sliced) collect(k int) error {
	c, g, n := s.c, s.c.g, s.spreadRound(k)
	me, w := g.Rank(), g.Size()
	for i := 1; i < w; i++ {
		q := (me + i) % w
		if dst := s.slice(k, q); len(dst) > 0 {
			if err := c.await(n, q, false); err != nil {
				return err
			}
			copy(dst, c.views[q].Bytes(&c.slices[1], 0, 0, len(dst)))
		}
	}
	g.link.Done(n)
	return nil
}

// message is message k of an all-reduce: buf, whole or in parts of size bytes.
func (c *call) message(k int, buf []byte, size int, addressed bool) *Message {
	c.slices[k].reset()
	c.slices[k].add(size)
	c.bufs[k][0] = buf
	m := &c.messages[k]
	*m = Message{Bufs: c.bufs[k], Layout: &c.slices[k], Hi: size, Addressed: addressed}
	return m
}
