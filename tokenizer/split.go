// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// piece is a part of the text.
type piece struct {
	text  string
	first bool // it begins where the text begins
}

// splitter cuts a piece into smaller ones and hands them to yield, in order; none is empty.
type splitter interface {
	split(p piece, yield func(piece))
}

// bytePrefix puts a space before a piece that has none.
type bytePrefix struct{}

func (bytePrefix) split(p piece, yield func(piece)) {
	if !strings.HasPrefix(p.text, " ") {
		p.text = " " + p.text
	}
	yield(p)
}

// each hands over what a pattern matches and, in one piece, what lies between: Split with the behavior Isolated.
type each struct{ matcher }

func (s each) split(p piece, yield func(piece)) {
	for m := range matches(s.matcher, p.text) {
		yield(piece{p.text[m.from:m.to], p.first && m.from == 0})
	}
}

// match is a part of a piece: what a pattern matches, or what lies between two of those.
type match struct {
	from, to int
	found    bool
}

// matches are all parts of a text, one after the other.
func matches(m matcher, text string) func(yield func(match) bool) {
	return func(yield func(match) bool) {
		done := 0
		for at := 0; at < len(text); {
			end := m.match(text, at)
			if end < 0 {
				_, n := utf8.DecodeRuneInString(text[at:])
				at += n
				continue
			}
			if done < at && !yield(match{done, at, false}) || !yield(match{at, end, true}) {
				return
			}
			at, done = end, end
		}
		if done < len(text) {
			yield(match{done, len(text), false})
		}
	}
}

// behavior is what Split does with what a pattern matches.
type behavior string

// The behaviors, as tokenizer.json spells them.
const (
	removed            behavior = "Removed"
	isolated           behavior = "Isolated"
	mergedWithPrevious behavior = "MergedWithPrevious"
	mergedWithNext     behavior = "MergedWithNext"
	contiguous         behavior = "Contiguous"
)

// split is Split with any behavior.
type split struct {
	matcher
	behavior behavior
	invert   bool // what lies between counts as matched, and the other way round
}

func (s split) split(p piece, yield func(piece)) {
	parts := slices.Collect(matches(s.matcher, p.text))
	for i := range parts {
		parts[i].found = parts[i].found != s.invert
	}
	switch s.behavior {
	case removed:
		parts = slices.DeleteFunc(parts, func(m match) bool { return m.found })
	case contiguous:
		parts = join(parts, func(before, m bool) bool { return before == m })
	case mergedWithPrevious:
		parts = join(parts, func(before, m bool) bool { return m && !before })
	case mergedWithNext:
		slices.Reverse(parts)
		parts = join(parts, func(before, m bool) bool { return m && !before })
		slices.Reverse(parts)
	}
	for _, m := range parts {
		yield(piece{p.text[m.from:m.to], p.first && m.from == 0})
	}
}

// join puts a part together with the one before it where with says so, told which of the two are matches. Parts may run backwards.
func join(parts []match, with func(before, m bool) bool) []match {
	var joined []match
	before := false
	for _, m := range parts {
		if n := len(joined); n > 0 && with(before, m.found) {
			joined[n-1].from, joined[n-1].to = min(joined[n-1].from, m.from), max(joined[n-1].to, m.to)
		} else {
			joined = append(joined, m)
		}
		before = m.found
	}
	return joined
}

// scheme says where a metaspace is put before a piece.
type scheme string

// The schemes, as tokenizer.json spells them.
const (
	always scheme = "always"
	first  scheme = "first"
	never  scheme = "never"
)

// metaspaces writes a metaspace for each space, puts one before a piece as the scheme says, and may split before each.
type metaspaces struct {
	prepend scheme
	splits  bool
}

func (m metaspaces) split(p piece, yield func(piece)) {
	p.text = strings.ReplaceAll(p.text, " ", metaspace)
	if !strings.HasPrefix(p.text, metaspace) && (m.prepend == always || m.prepend == first && p.first) {
		p.text = metaspace + p.text
	}
	if !m.splits {
		yield(p)
		return
	}
	split{literal(metaspace), mergedWithNext, false}.split(p, yield)
}

// literal matches a string.
type literal string

func (l literal) match(text string, at int) int {
	if strings.HasPrefix(text[at:], string(l)) {
		return at + len(l)
	}
	return -1
}
