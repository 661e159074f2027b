// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	_ "embed"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// categoriesText is Unicode 16's general categories, which are those of the Rust library's patterns; Go's are of another release. A line has
// the hexadecimal code point from which on a category holds, and the category. testdata/categories.py makes it.
//
//go:embed categories.txt
var categoriesText string

// categories are the general categories of all characters.
type categories struct {
	from []rune
	name []string // name[i] holds from from[i] up to from[i+1]
	// classes makes the table of the hand-written scanners, once.
	classes func() classTable
}

// unicode16 reads the table once, for all tokenizers.
var unicode16 = sync.OnceValue(newCategories)

func newCategories() *categories {
	c := &categories{}
	c.classes = sync.OnceValue(c.table)
	for line := range strings.Lines(categoriesText) {
		from, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		r, err := strconv.ParseUint(from, 16, 32)
		if err != nil {
			panic(fmt.Sprintf("tokenizer: categories.txt: %v", err))
		}
		c.from, c.name = append(c.from, rune(r)), append(c.name, name)
	}
	return c
}

// of is the category of a character, such as "Lu".
func (c *categories) of(r rune) string {
	i := sort.Search(len(c.from), func(i int) bool { return c.from[i] > r }) - 1
	return c.name[i]
}

// known reports whether a pattern may speak of a category: one, or all that begin with a letter.
func (c *categories) known(category string) bool {
	for _, name := range c.name {
		if category != "" && strings.HasPrefix(name, category) && name != "Cn" && name != "Cs" && category != "C" {
			return true
		}
	}
	return false
}

// ranges are the characters of a category, or of all that begin with a letter.
func (c *categories) ranges(category string) (ranges []rng) {
	for i, name := range c.name {
		if !strings.HasPrefix(name, category) {
			continue
		}
		to := rune(unicode.MaxRune)
		if i+1 < len(c.from) {
			to = c.from[i+1] - 1
		}
		ranges = append(ranges, rng{c.from[i], to})
	}
	return ranges
}

// isWord reports whether Rust's regular expressions count a character among \w: alphabetic ones, marks, decimal digits, connecting
// punctuation and what joins characters.
func (c *categories) isWord(r rune) bool {
	switch of := c.of(r); of {
	case "Nd", "Nl", "Pc":
		return true
	case "So": // letters in circles and squares
		return 0x24b6 <= r && r <= 0x24e9 || 0x1f130 <= r && r <= 0x1f149 || 0x1f150 <= r && r <= 0x1f169 || 0x1f170 <= r && r <= 0x1f189
	default:
		return of[0] == 'L' || of[0] == 'M' || r == 0x200c || r == 0x200d
	}
}

// isSpace is \s: White_Space, which no release of Unicode changes.
func isSpace(r rune) bool { return unicode.IsSpace(r) }

// class is what the hand-written scanners tell apart.
type class uint8

const (
	other class = iota
	letter
	number
	space
)

// classTable is the class of each character.
type classTable []class

func (c *categories) table() classTable {
	t := make(classTable, unicode.MaxRune+1)
	for _, of := range []struct {
		category string
		class    class
	}{{"L", letter}, {"N", number}} {
		for _, r := range c.ranges(of.category) {
			for i := r.from; i <= r.to; i++ {
				t[i] = of.class
			}
		}
	}
	for _, r := range unicode.White_Space.R16 {
		for i := rune(r.Lo); i <= rune(r.Hi); i += rune(r.Stride) {
			t[i] = space
		}
	}
	return t
}
