// SPDX-License-Identifier: Apache-2.0

package tokenizer

import "unicode/utf8"

// merger encodes words. Its slices are kept for the next word.
type merger struct {
	model *bpe
	ids   []int32  // of the symbols, then of what they become
	next  []merged // what ids[i] and ids[i+1] become
	links []link
	queue heap
}

// append appends the ids of a word.
func (m *merger) append(ids []int32, word string) []int32 {
	if id, ok := m.model.whole[word]; ok {
		return append(ids, id)
	}
	m.symbols(word)
	if len(m.ids) <= shortWord {
		m.short()
	} else {
		m.long()
	}
	return append(ids, m.ids...)
}

// symbols takes a word apart, as tokenizers' BPE::merge_word does: the id of what is unknown stands before the next symbol that is a token.
func (m *merger) symbols(word string) {
	m.ids = m.ids[:0]
	b, pending := m.model, false
	for i := 0; i < len(word); {
		s, n := b.bytes[word[i]], 1
		if !b.byteLevel && word[i] >= utf8.RuneSelf {
			_, n = utf8.DecodeRuneInString(word[i:])
			s = b.symbolOf(word[i : i+n])
		}
		i += n
		switch {
		case s.known:
			if pending {
				m.ids = append(m.ids, *b.unknown)
				pending = false
			}
			m.ids = append(m.ids, s.id)
		case s.bytes != nil:
			m.ids = append(m.ids, s.bytes...)
		case b.unknown != nil:
			if pending && !b.fuse {
				m.ids = append(m.ids, *b.unknown)
			}
			pending = true
		}
	}
	if pending {
		m.ids = append(m.ids, *b.unknown)
	}
}

// shortWord is the most symbols among which the next merge is found by looking at all; of more it is found by a heap.
const shortWord = 64

// short merges the pair of the lowest rank, of several the first, until none is left.
func (m *merger) short() {
	ids, pairs := m.ids, &m.model.merges
	m.next = m.next[:0]
	for i := 1; i < len(ids); i++ {
		m.next = append(m.next, pairs.get(ids[i-1], ids[i]))
	}
	next := m.next
	for {
		best, at := noMerge, 0
		for i := range next {
			if next[i].rank < best {
				best, at = next[i].rank, i
			}
		}
		if best == noMerge {
			break
		}
		ids[at] = next[at].id
		ids = append(ids[:at+1], ids[at+2:]...)
		next = append(next[:at], next[at+1:]...)
		if at > 0 {
			next[at-1] = pairs.get(ids[at-1], ids[at])
		}
		if at < len(next) {
			next[at] = pairs.get(ids[at], ids[at+1])
		}
	}
	m.ids = ids
}

// link is a symbol's place in the list of those that are left.
type link struct {
	before, after int32 // -1: none
	gone          bool  // into the symbol before
}

// long does what short does, in time n log n.
func (m *merger) long() {
	ids, pairs := m.ids, &m.model.merges
	m.links, m.queue = m.links[:0], m.queue[:0]
	propose := func(left, right int32) {
		if left >= 0 && right >= 0 {
			if to := pairs.get(ids[left], ids[right]); to.rank != noMerge {
				m.queue.push(uint64(to.rank)<<32 | uint64(left))
			}
		}
	}
	for i := range int32(len(ids)) {
		m.links = append(m.links, link{before: i - 1, after: i + 1})
		propose(i-1, i)
	}
	links := m.links
	links[len(links)-1].after = -1
	for len(m.queue) > 0 {
		top := m.queue.pop()
		left := int32(top & (1<<32 - 1))
		right := links[left].after
		if links[left].gone || right < 0 {
			continue
		}
		to := pairs.get(ids[left], ids[right])
		if to.rank != uint32(top>>32) { // another pair is there now, or none
			continue
		}
		ids[left] = to.id
		links[right].gone = true
		after := links[right].after
		links[left].after = after
		if after >= 0 {
			links[after].before = left
		}
		propose(links[left].before, left)
		propose(left, after)
	}
	m.ids = ids[:0]
	for i := int32(0); i >= 0; i = links[i].after {
		m.ids = append(m.ids, ids[i])
	}
}

// heap is a queue of numbers, the lowest first.
type heap []uint64

func (h *heap) push(v uint64) {
	q := append(*h, v)
	i := len(q) - 1
	for i > 0 {
		up := (i - 1) / 2
		if q[up] <= v {
			break
		}
		q[i] = q[up]
		i = up
	}
	q[i] = v
	*h = q
}

func (h *heap) pop() uint64 {
	q := *h
	top, last := q[0], q[len(q)-1]
	q = q[:len(q)-1]
	for i := 0; len(q) > 0; {
		down := 2*i + 1
		if down >= len(q) {
			q[i] = last
			break
		}
		if down+1 < len(q) && q[down+1] < q[down] {
			down++
		}
		if q[down] >= last {
			q[i] = last
			break
		}
		q[i] = q[down]
		i = down
	}
	*h = q
	return top
}
