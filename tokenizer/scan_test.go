// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// randomText is a string of what the patterns tell apart.
func randomText(r *rand.Rand, n int) string {
	pieces := []string{" ", "  ", "\n", "\r", "\t", "'", "s", "S", "ſ", "LL", "l", "re", "vE", "a", "É", "中", "ー", "1", "²", "٣", "\u0301", "!", "...", "🙂", "\u00a0", "\u2003", "\u0085", "_", "ǅ", "\u200d"}
	var text strings.Builder
	for range n {
		if r.IntN(10) == 0 {
			if c := r.Int32N(unicode.MaxRune + 1); c < 0xd800 || c >= 0xe000 {
				text.WriteRune(c)
			}
			continue
		}
		text.WriteString(pieces[r.IntN(len(pieces))])
	}
	return text.String()
}

func pieces(m matcher, text string) (all []string) {
	each{m}.split(piece{text: text}, func(p piece) { all = append(all, p.text) })
	return all
}

// The hand-written scanners and the compiled patterns split alike.
func TestScannersMatchTheirPatterns(t *testing.T) {
	c := unicode16()
	for _, pattern := range []string{gpt2Pattern, llamaPattern, qwenPattern} {
		scanner := scannerOf(pattern, c)
		nodes, err := compileNodes(pattern, c)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(1, 2))
		for range 5000 {
			text := randomText(r, r.IntN(12))
			if got, want := pieces(scanner, text), pieces(nodes, text); !slices.Equal(got, want) {
				t.Fatalf("%s\n%q is split into %q, want %q", pattern, text, got, want)
			}
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, text string
		want          []string
	}{
		{`a|b+`, "abbc", []string{"a", "bb", "c"}},
		{`ab{2}`, "abbb", []string{"abb", "b"}},
		{`ab{1,2}c`, "abbc abc ac", []string{"abbc", " ", "abc", " ac"}},
		{`ab{2,}`, "ab abb abbbb", []string{"ab ", "abb", " ", "abbbb"}},
		{`(?:ab?|c){2}`, "abac", []string{"aba", "c"}},
		{`(?:ab)?c`, "abcc", []string{"abc", "c"}},
		{`a(?=b)`, "abac", []string{"a", "bac"}},
		{`a(?!b)`, "abac", []string{"ab", "a", "c"}},
		{`[^a-c\]\-é]`, "ab]x-é", []string{"ab]", "x", "-é"}},
		{`[a-]`, "a-b", []string{"a", "-", "b"}},
		{`(?i:k's)`, "K'ſ \u212a'S", []string{"K'ſ", " ", "\u212a'S"}},
		{`\p{Lu}\P{L}`, "Aa A1", []string{"Aa ", "A1"}},
		{`\d\D\S\s`, "1a2 ", []string{"1a2 "}},
		{`\r\n|\t|\\|\.`, "\r\n\t\\.", []string{"\r\n", "\t", "\\", "."}},
		{`a*b`, "aaab", []string{"aaab"}},
		{`a*ab`, "aaab", []string{"aaab"}},
	} {
		m, err := compile(tt.pattern, unicode16())
		if err != nil {
			t.Errorf("%s: %v", tt.pattern, err)
			continue
		}
		if got := pieces(m, tt.text); !slices.Equal(got, tt.want) {
			t.Errorf("%s splits %q into %q, want %q", tt.pattern, tt.text, got, tt.want)
		}
	}
}

func TestPatternsThatAreRefused(t *testing.T) {
	for pattern, want := range map[string]string{
		`a*`: "matches the empty text", ``: "matches the empty text", `a|`: "matches the empty text", `(?=a)`: "matches the empty text",
		`^a`: `'^' is not in octet`, `a$`: `'$' is not`, `.`: `'.' is not`, `(a)`: `'(' is not`, `*a`: `'*' is not`,
		`a+?`: "'?' after a repetition", `a++`: "'+' after a repetition", `a{2}{3}`: "'{' after a repetition",
		`(?:ab)+`: "without bound", `(?:a?){2}b`: "the empty text",
		`a{`: "{} is a number", `a{x}`: "{} is a number", `a{3,2}`: "{} is a number", `a{0}`: "{} is a number", `a{101}`: "up to 100", `a{1,999999999999999999999}`: "{} is a number",
		`(?:a`: "( without )", `a)`: ") without (", `(?<=a)b`: "'(' is not", `(?P<x>a)`: "'(' is not",
		`[a`: "[ without ]", `[]a]`: "in [] a ]", `[[:alpha:]]`: "in [] a ]", `[a&&b]`: "in [] a ]", `[b-a]`: "the lower first", `[a-\d]`: "a range in []",
		`\w`: `\w is not in octet`, `\b`: `\b is not`, `\1`: `\1 is not`, `\`: `\ at the end`, `\p{Han}`: "general category", `\p{C}`: "general category", `\pL`: "general category",
		`(?i:ß)`: "only ASCII is", `(?i:a|ss)`: "two letters", `(?i:[a-z])`: "a range in []", `(?i:\p{L})`: `\p in (?i:)`, "\xff": "not UTF-8",
	} {
		if _, err := compile(pattern, unicode16()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", pattern, err, want)
		}
	}
}

func TestCategoriesAreUnicode16s(t *testing.T) {
	c := unicode16()
	count := map[string]int{}
	differs := 0
	for r := rune(0); r <= unicode.MaxRune; r++ {
		of := c.of(r)
		count[of[:1]]++
		// Go's tables may be older or younger, but no character changes from a letter to a number.
		if unicode.IsLetter(r) && of[0] == 'N' || unicode.IsNumber(r) && of[0] == 'L' {
			differs++
		}
	}
	want := map[string]int{"L": 141028, "M": 2501, "N": 1911, "P": 855, "S": 8514, "Z": 19, "C": 959284}
	if fmt.Sprint(count) != fmt.Sprint(want) || differs > 0 {
		t.Errorf("%v characters and %d that are another's in Go, want %v", count, differs, want)
	}
	table := c.classes()
	for r := rune(0); r <= unicode.MaxRune; r++ {
		want := other
		switch of := c.of(r); {
		case of[0] == 'L':
			want = letter
		case of[0] == 'N':
			want = number
		case unicode.IsSpace(r):
			want = space
		}
		if table[r] != want {
			t.Fatalf("%U has the class %d, want %d", r, table[r], want)
		}
	}
}
