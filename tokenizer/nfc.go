// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"slices"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// nfc composes characters as the Rust library does, whose tables are Unicode 9's: a character that is younger stays as it is. Of golang.org/x/text
// it takes the tables, not the algorithm, which parts long runs of marks.
type nfc struct {
	composed map[[2]rune]rune
}

// younger are the characters that later releases of Unicode reorder or compose.
var younger = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x07fd, 0x07fd, 1}, {0x0898, 0x089f, 1}, {0x08ca, 0x08d3, 1}, {0x09fe, 0x09fe, 1}, {0x0c3c, 0x0c3c, 1}, {0x0d3b, 0x0d3c, 1}, {0x0eba, 0x0eba, 1},
		{0x1715, 0x1715, 1}, {0x1abf, 0x1ace, 1}, {0x1df6, 0x1dfa, 1}, {0xa82c, 0xa82c, 1},
	},
	R32: []unicode.Range32{
		{0x10d24, 0x10d27, 1}, {0x10eab, 0x10eac, 1}, {0x10efd, 0x10eff, 1}, {0x10f46, 0x10f50, 1}, {0x10f82, 0x10f85, 1}, {0x11070, 0x11070, 1},
		{0x1133b, 0x1133b, 1}, {0x1145e, 0x1145e, 1}, {0x11839, 0x1183a, 1}, {0x11930, 0x11930, 1}, {0x11935, 0x11935, 1}, {0x11938, 0x11938, 1},
		{0x1193d, 0x1193e, 1}, {0x11943, 0x11943, 1}, {0x119e0, 0x119e0, 1}, {0x11a34, 0x11a34, 1}, {0x11a47, 0x11a47, 1}, {0x11a99, 0x11a99, 1},
		{0x11d42, 0x11d42, 1}, {0x11d44, 0x11d45, 1}, {0x11d97, 0x11d97, 1}, {0x11f41, 0x11f42, 1}, {0x16ff0, 0x16ff1, 1}, {0x1e08f, 0x1e08f, 1},
		{0x1e130, 0x1e136, 1}, {0x1e2ae, 0x1e2ae, 1}, {0x1e2ec, 0x1e2ef, 1}, {0x1e4ec, 0x1e4ef, 1},
	},
}

// Hangul's syllables are composed by arithmetic: of a leading consonant, a vowel and, if there is one, a trailing consonant.
const (
	hangulS, hangulL, hangulV, hangulT = 0xac00, 0x1100, 0x1161, 0x11a7
	countL, countV, countT             = 19, 21, 28
)

func newNFC() nfc {
	n := nfc{composed: make(map[[2]rune]rune)}
	for r := rune(0); r < 0x30000; r++ {
		parts := []rune(string(norm.NFD.PropertiesString(string(r)).Decomposition()))
		if len(parts) < 2 || inHangul(r) || unicode.Is(younger, r) || norm.NFC.String(string(r)) != string(r) {
			continue
		}
		last := len(parts) - 1
		if before := []rune(norm.NFC.String(string(parts[:last]))); len(before) == 1 {
			n.composed[[2]rune{before[0], parts[last]}] = r
		}
	}
	return n
}

func inHangul(r rune) bool { return hangulS <= r && r < hangulS+countL*countV*countT }

func (n nfc) normalize(text string) string {
	if norm.NFC.IsNormalString(text) {
		return text
	}
	runes := decomposed(text)
	for i := 0; i < len(runes); { // marks in the order of their classes
		end := i + 1
		for end < len(runes) && class9(runes[end]) > 0 {
			end++
		}
		from := i
		if class9(runes[i]) == 0 {
			from++
		}
		slices.SortStableFunc(runes[from:end], func(a, b rune) int { return class9(a) - class9(b) })
		i = end
	}
	return string(n.compose(runes))
}

// class9 is the canonical combining class in Unicode 9.
func class9(r rune) int {
	if unicode.Is(younger, r) {
		return 0
	}
	return int(norm.NFC.PropertiesString(string(r)).CCC())
}

// decomposed is the canonical decomposition, marks as they stand.
func decomposed(text string) (runes []rune) {
	for _, r := range text {
		switch d := norm.NFD.PropertiesString(string(r)).Decomposition(); {
		case inHangul(r):
			i := r - hangulS
			runes = append(runes, hangulL+i/(countV*countT), hangulV+i%(countV*countT)/countT)
			if t := i % countT; t > 0 {
				runes = append(runes, hangulT+t)
			}
		case d == nil || unicode.Is(younger, r):
			runes = append(runes, r)
		default:
			runes = append(runes, []rune(string(d))...)
		}
	}
	return runes
}

// compose puts each mark into the character before it if there is one of both and nothing of the same class lies between.
func (n nfc) compose(runes []rune) []rune {
	out := runes[:0]
	starter, class := -1, 0 // the last starter's place in out, and the class of what follows it
	for _, r := range runes {
		c := class9(r)
		if starter >= 0 && (class == 0 && len(out) == starter+1 || class != 0 && class < c) {
			if both, ok := n.pair(out[starter], r); ok {
				out[starter] = both
				continue
			}
		}
		if c == 0 {
			starter, class = len(out), 0
		} else {
			class = c
		}
		out = append(out, r)
	}
	return out
}

// pair is what two characters are composed to.
func (n nfc) pair(a, b rune) (rune, bool) {
	switch {
	case hangulL <= a && a < hangulL+countL && hangulV <= b && b < hangulV+countV:
		return hangulS + ((a-hangulL)*countV+b-hangulV)*countT, true
	case inHangul(a) && (a-hangulS)%countT == 0 && hangulT < b && b < hangulT+countT:
		return a + b - hangulT, true
	}
	both, ok := n.composed[[2]rune{a, b}]
	return both, ok
}
