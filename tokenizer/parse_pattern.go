// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// compile makes a matcher of a pattern in the part of Oniguruma's language whose meaning is plain: characters, sets, categories, groups
// without capture, alternatives, greedy repetition, looking ahead, and contractions of any case. It refuses all else by name, and patterns that
// match the empty text.
func compile(pattern string, c *categories) (matcher, error) {
	if s := scannerOf(pattern, c); s != nil {
		return s, nil
	}
	return compileNodes(pattern, c)
}

func compileNodes(pattern string, c *categories) (node, error) {
	p := &patternParser{rest: pattern, categories: c}
	tree, err := p.alternatives(false)
	if err == nil && p.rest != "" {
		err = errors.New(") without (")
	}
	if err == nil && tree.empty() {
		err = errors.New("it matches the empty text")
	}
	if err != nil {
		return nil, fmt.Errorf("%w, at %q", err, p.rest)
	}
	return tree.compile(accept{}), nil
}

// expr is a part of a pattern before it is compiled.
type expr interface {
	compile(then node) node
	empty() bool // it matches the empty text
}

type (
	one   struct{ set *set } // a character
	row   []expr             // one after the other
	oneOf []expr             // the first that matches
	times struct {           // between least and most times
		body        expr
		least, most int
	}
	look struct { // what follows, which is not taken
		body expr
		not  bool
	}
)

func (e one) compile(then node) node { return &chars{e.set, 1, 1, then} }
func (e one) empty() bool            { return false }

func (e row) compile(then node) node {
	for _, part := range slices.Backward(e) {
		then = part.compile(then)
	}
	return then
}
func (e row) empty() bool {
	return !slices.ContainsFunc(e, func(part expr) bool { return !part.empty() })
}

func (e oneOf) compile(then node) node {
	var n choice
	for _, part := range e {
		n = append(n, part.compile(then))
	}
	return n
}
func (e oneOf) empty() bool { return slices.ContainsFunc(e, expr.empty) }

func (e times) compile(then node) node {
	if c, ok := e.body.(one); ok {
		return &chars{c.set, e.least, e.most, then}
	}
	for range e.most - e.least {
		then = choice{e.body.compile(then), then}
	}
	for range e.least {
		then = e.body.compile(then)
	}
	return then
}
func (e times) empty() bool { return e.least == 0 || e.body.empty() }

func (e look) compile(then node) node { return &ahead{e.body.compile(accept{}), e.not, then} }
func (e look) empty() bool            { return true }

// patternParser reads a pattern from left to right.
type patternParser struct {
	rest string
	*categories
}

// take takes what the pattern goes on with, if it is this.
func (p *patternParser) take(text string) bool {
	rest, ok := strings.CutPrefix(p.rest, text)
	p.rest = rest
	return ok
}

// alternatives reads up to the end or to a closing parenthesis, which stays.
func (p *patternParser) alternatives(fold bool) (expr, error) {
	var all oneOf
	for {
		r, err := p.row(fold)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
		if !p.take("|") {
			break
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all, nil
}

func (p *patternParser) row(fold bool) (expr, error) {
	r := row{}
	for p.rest != "" && p.rest[0] != '|' && p.rest[0] != ')' {
		e, err := p.atom(fold)
		if err == nil {
			e, err = p.repeated(e)
		}
		if err != nil {
			return nil, err
		}
		r = append(r, e)
	}
	return r, nil
}

// atom reads a character, a set or a group.
func (p *patternParser) atom(fold bool) (expr, error) {
	for _, open := range []struct {
		text string
		fold bool
	}{{"(?:", fold}, {"(?i:", true}} {
		if p.take(open.text) {
			return p.group(open.fold)
		}
	}
	for _, not := range []bool{false, true} {
		if p.take(map[bool]string{false: "(?=", true: "(?!"}[not]) {
			body, err := p.group(fold)
			return look{body, not}, err
		}
	}
	switch c := p.rest[0]; c {
	case '(', '^', '$', '.', '*', '+', '?', '{':
		return nil, fmt.Errorf("%q is not in octet here", c)
	case '[':
		ranges, err := p.class(fold)
		return one{newSet(ranges)}, err
	}
	ranges, _, err := p.member(fold)
	return one{newSet(ranges)}, err
}

// group reads what is in parentheses and the closing one.
func (p *patternParser) group(fold bool) (expr, error) {
	if fold && foldsTogether(p.rest) {
		return nil, errors.New("two letters in (?i:) that are one letter in another case")
	}
	e, err := p.alternatives(fold)
	if err == nil && !p.take(")") {
		err = errors.New("( without )")
	}
	return e, err
}

// foldsTogether reports whether a group has neighbours such as ss, which without case match ß too.
func foldsTogether(text string) bool {
	text, _, _ = strings.Cut(text, ")")
	return slices.ContainsFunc([]string{"ss", "st", "ff", "fi", "fl"}, func(two string) bool { return strings.Contains(strings.ToLower(text), two) })
}

// mostTimes bounds {n,m}, which is written out.
const mostTimes = 100

// repeated reads how often e stands.
func (p *patternParser) repeated(e expr) (expr, error) {
	t := times{e, 0, unlimited}
	switch {
	case p.take("*"):
	case p.take("+"):
		t.least = 1
	case p.take("?"):
		t.most = 1
	case strings.HasPrefix(p.rest, "{"):
		inside, rest, ok := strings.Cut(p.rest[1:], "}")
		least, most, two := strings.Cut(inside, ",")
		var err, errMost error
		t.least, err = strconv.Atoi(least)
		t.most = t.least
		if two && most == "" {
			t.most = unlimited
		} else if two {
			t.most, errMost = strconv.Atoi(most)
		}
		if !ok || err != nil || errMost != nil || t.least < 0 || t.least > t.most || t.least > mostTimes || t.most != unlimited && t.most > mostTimes || t.most == 0 {
			return nil, fmt.Errorf("{} is a number, or two, up to %d", mostTimes)
		}
		p.rest = rest
	default:
		return e, nil
	}
	if p.rest != "" && strings.ContainsRune("*+?{", rune(p.rest[0])) {
		return nil, fmt.Errorf("%q after a repetition (lazy, possessive or nested) is not in octet", p.rest[0])
	}
	if _, plain := e.(one); !plain && (t.most == unlimited || e.empty()) {
		return nil, errors.New("what is repeated without bound is a character or a set, and no repetition is of the empty text")
	}
	return t, nil
}

// class reads a set in brackets.
func (p *patternParser) class(fold bool) ([]rng, error) {
	p.take("[")
	not := p.take("^")
	var all []rng
	for first := true; ; first = false {
		switch {
		case p.rest == "":
			return nil, errors.New("[ without ]")
		case !first && p.take("]"):
			if not {
				all = complement(all)
			}
			return all, nil
		case first && strings.HasPrefix(p.rest, "]"), strings.HasPrefix(p.rest, "["), strings.HasPrefix(p.rest, "&&"):
			return nil, errors.New("in [] a ] that is first, a [ and && are not in octet: write them with \\")
		}
		from, single, err := p.member(fold)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(p.rest, "-") || strings.HasPrefix(p.rest, "-]") {
			all = append(all, from...)
			continue
		}
		p.take("-")
		to, last, err := p.member(false)
		if err != nil {
			return nil, err
		}
		if !single || !last || fold || from[0].from > to[0].from {
			return nil, errors.New("a range in [] is of two characters, the lower first, and not in (?i:)")
		}
		all = append(all, rng{from[0].from, to[0].to})
	}
}

// member reads a character, or an escape that stands for a set; single says which.
func (p *patternParser) member(fold bool) (ranges []rng, single bool, err error) {
	r, n := utf8.DecodeRuneInString(p.rest)
	if n == 0 || r == utf8.RuneError {
		return nil, false, errors.New("the pattern ends in the middle, or is not UTF-8")
	}
	if r != '\\' {
		p.rest = p.rest[n:]
		return folded(r, fold)
	}
	if len(p.rest) < 2 {
		return nil, false, errors.New(`\ at the end`)
	}
	c := p.rest[1]
	switch c {
	case 'r', 'n', 't':
		p.rest = p.rest[2:]
		r := map[byte]rune{'r': '\r', 'n': '\n', 't': '\t'}[c]
		return []rng{{r, r}}, true, nil
	case 's', 'S', 'd', 'D':
		p.rest = p.rest[2:]
		if ranges = p.ranges("Nd"); c == 's' || c == 'S' {
			ranges = spaceRanges()
		}
		if c == 'S' || c == 'D' {
			ranges = complement(ranges)
		}
		return ranges, false, nil
	case 'p', 'P':
		if fold {
			return nil, false, fmt.Errorf(`\%c in (?i:) is not in octet`, c)
		}
		name, rest, ok := strings.Cut(p.rest[2:], "}")
		if !ok || !strings.HasPrefix(name, "{") || !p.known(name[1:]) {
			return nil, false, errors.New(`\p is of a general category, such as \p{L} or \p{Lu}`)
		}
		p.rest = rest
		if ranges = p.ranges(name[1:]); c == 'P' {
			ranges = complement(ranges)
		}
		return ranges, false, nil
	}
	if c >= utf8.RuneSelf || c < '!' || unicode.IsLetter(rune(c)) || unicode.IsDigit(rune(c)) {
		return nil, false, fmt.Errorf(`\%c is not in octet`, c)
	}
	p.rest = p.rest[2:]
	return []rng{{rune(c), rune(c)}}, true, nil
}

// folded is a character in every case, if case does not count.
func folded(r rune, fold bool) (ranges []rng, single bool, err error) {
	ranges = []rng{{r, r}}
	if !fold {
		return ranges, true, nil
	}
	if r >= utf8.RuneSelf {
		return nil, false, fmt.Errorf("%q in (?i:) is not in octet, only ASCII is", r)
	}
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		ranges = append(ranges, rng{other, other})
	}
	return ranges, len(ranges) == 1, nil
}

func spaceRanges() (ranges []rng) {
	for _, r := range unicode.White_Space.R16 {
		for c := rune(r.Lo); c <= rune(r.Hi); c += rune(r.Stride) {
			ranges = append(ranges, rng{c, c})
		}
	}
	return ranges
}

// tidy sorts ranges and joins those that touch.
func tidy(ranges []rng) []rng {
	ranges = slices.Clone(ranges)
	slices.SortFunc(ranges, func(a, b rng) int { return cmp.Compare(a.from, b.from) })
	var tidied []rng
	for _, r := range ranges {
		if n := len(tidied); n > 0 && r.from <= tidied[n-1].to+1 {
			tidied[n-1].to = max(tidied[n-1].to, r.to)
		} else {
			tidied = append(tidied, r)
		}
	}
	return tidied
}

func complement(ranges []rng) (rest []rng) {
	from := rune(0)
	for _, r := range tidy(ranges) {
		if from < r.from {
			rest = append(rest, rng{from, r.from - 1})
		}
		from = r.to + 1
	}
	if from <= unicode.MaxRune {
		rest = append(rest, rng{from, unicode.MaxRune})
	}
	return rest
}

func newSet(ranges []rng) *set {
	s := &set{ranges: tidy(ranges)}
	for _, r := range s.ranges {
		for c := r.from; c <= min(r.to, utf8.RuneSelf-1); c++ {
			s.ascii[c] = true
		}
	}
	return s
}
