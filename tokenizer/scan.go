// SPDX-License-Identifier: Apache-2.0

package tokenizer

import "unicode/utf8"

// The patterns that most models split by, for which there are scanners.
const (
	gpt2Pattern  = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	llamaPattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	qwenPattern  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// matcher finds what a pattern matches from a byte of a text on: the end of it, or -1.
type matcher interface {
	match(text string, at int) int
}

// scannerOf is the scanner of a pattern, nil if it has none.
func scannerOf(pattern string, c *categories) matcher {
	switch pattern {
	case gpt2Pattern:
		return gpt2Scanner{c.classes()}
	case llamaPattern:
		return llamaScanner{c.classes(), 3}
	case qwenPattern:
		return llamaScanner{c.classes(), 1}
	}
	return nil
}

// at is the class and length of the character at a byte; length 0 is the end.
func (t classTable) at(text string, i int) (class, int) {
	if i >= len(text) {
		return space, 0
	}
	if b := text[i]; b < utf8.RuneSelf {
		return t[b], 1
	}
	r, n := utf8.DecodeRuneInString(text[i:])
	return t[r], n
}

// run is the end of the characters of a class from a byte on, at most so many.
func (t classTable) run(text string, i int, of class, most int) int {
	for ; most > 0; most-- {
		c, n := t.at(text, i)
		if c != of || n == 0 {
			break
		}
		i += n
	}
	return i
}

const unlimited = int(^uint(0) >> 1)

// spaces matches \s+(?!\S)|\s+ where white space is: all of it, or before another character all but the last.
func (t classTable) spaces(text string, at int) int {
	end := t.run(text, at, space, unlimited)
	if end == len(text) {
		return end
	}
	_, n := utf8.DecodeLastRuneInString(text[at:end])
	if end-n > at {
		return end - n
	}
	return end
}

// gpt2Scanner matches gpt2Pattern.
type gpt2Scanner struct{ classTable }

func (s gpt2Scanner) match(text string, at int) int {
	if text[at] == '\'' {
		if n := contraction(text[at+1:], false); n > 0 {
			return at + 1 + n
		}
	}
	from := at
	c, n := s.at(text, at)
	if text[at] == ' ' {
		if next, m := s.at(text, at+1); next != space {
			from, c, n = at+1, next, m
		}
	}
	if c == space {
		return s.spaces(text, at)
	}
	return s.run(text, from+n, c, unlimited)
}

// llamaScanner matches llamaPattern, with so many digits together.
type llamaScanner struct {
	classTable
	digits int
}

func (s llamaScanner) match(text string, at int) int {
	first := text[at]
	if first == '\'' {
		if n := contraction(text[at+1:], true); n > 0 {
			return at + 1 + n
		}
	}
	c, n := s.at(text, at)
	switch c {
	case letter:
		return s.run(text, at+n, letter, unlimited)
	case number:
		return s.run(text, at+n, number, s.digits-1)
	}
	next, m := s.at(text, at+n)
	if next == letter && first != '\r' && first != '\n' { // [^\r\n\p{L}\p{N}]?\p{L}+
		return s.run(text, at+n+m, letter, unlimited)
	}
	if c == other || first == ' ' && next == other { // ` ?[^\s\p{L}\p{N}]+[\r\n]*`
		end := s.run(text, at+n, other, unlimited)
		for end < len(text) && (text[end] == '\r' || text[end] == '\n') {
			end++
		}
		return end
	}
	for end := s.run(text, at, space, unlimited); end > at; end-- { // \s*[\r\n]+
		if text[end-1] == '\r' || text[end-1] == '\n' {
			return end
		}
	}
	return s.spaces(text, at)
}

// contraction is the length of s, t, re, ve, m, ll or d at the beginning of a text. Where case does not count, the long ſ is an s.
func contraction(text string, fold bool) int {
	if text == "" {
		return 0
	}
	lower := func(i int) byte {
		if i >= len(text) {
			return 0
		}
		if fold && 'A' <= text[i] && text[i] <= 'Z' {
			return text[i] + 'a' - 'A'
		}
		return text[i]
	}
	switch lower(0) {
	case 's', 't', 'm', 'd':
		return 1
	case 'r', 'v':
		if lower(1) == 'e' {
			return 2
		}
	case 'l':
		if lower(1) == 'l' {
			return 2
		}
	case "ſ"[0]:
		if fold && len(text) > 1 && text[1] == "ſ"[1] {
			return 2
		}
	}
	return 0
}
