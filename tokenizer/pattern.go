// SPDX-License-Identifier: Apache-2.0

package tokenizer

import "unicode/utf8"

// A pattern is compiled into nodes that know what comes after them, so that matching is trying: a node returns the end of all that matches
// from it on, or -1. The first alternative and the longest repetition are tried first, as in every backtracking engine, and in Oniguruma,
// which the Rust library uses.
type node interface {
	match(text string, at int) int
}

// accept is the end of a pattern.
type accept struct{}

func (accept) match(_ string, at int) int { return at }

// chars matches between least and most characters of a set.
type chars struct {
	set         *set
	least, most int
	then        node
}

func (n *chars) match(text string, at int) int {
	count := 0
	end := at
	for count < n.most && end < len(text) {
		r, size := utf8.DecodeRuneInString(text[end:])
		if !n.set.has(r) {
			break
		}
		end += size
		count++
	}
	for ; count >= n.least; count-- {
		if to := n.then.match(text, end); to >= 0 {
			return to
		}
		_, size := utf8.DecodeLastRuneInString(text[at:end])
		end -= size
	}
	return -1
}

// choice matches the first of its alternatives that does.
type choice []node

func (n choice) match(text string, at int) int {
	for _, a := range n {
		if to := a.match(text, at); to >= 0 {
			return to
		}
	}
	return -1
}

// ahead asks whether its body matches what follows.
type ahead struct {
	body node
	not  bool
	then node
}

func (n *ahead) match(text string, at int) int {
	if (n.body.match(text, at) >= 0) == n.not {
		return -1
	}
	return n.then.match(text, at)
}

// rng is the characters from one to another.
type rng struct{ from, to rune }

// set is a set of characters.
type set struct {
	ascii  [utf8.RuneSelf]bool
	ranges []rng // sorted, apart from one another
}

func (s *set) has(r rune) bool {
	if r < utf8.RuneSelf {
		return s.ascii[r]
	}
	low, high := 0, len(s.ranges)
	for low < high {
		middle := (low + high) / 2
		if s.ranges[middle].to < r {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low < len(s.ranges) && s.ranges[low].from <= r
}
