// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// bpe is the model: a vocabulary, and which two tokens that stand side by side become one, the more urgent first.
type bpe struct {
	vocab  map[string]int32 // as tokenizer.json spells tokens
	tokens map[int32]string
	merges pairs

	byteLevel    bool             // a symbol is a byte, else a character
	bytes        [256]symbol      // of each byte, or of each ASCII character
	whole        map[string]int32 // words that are tokens without merging (ignore_merges); nil: none
	unknown      *int32           // for symbols that are no tokens; nil: they have no id
	fuse         bool             // several of them have one id together
	byteFallback bool             // or one for each of their bytes
	separable    bool             // no token reaches from a character other than metaspace to a metaspace
}

// symbol is what a word is made of before anything is merged: a token, or tokens of bytes, or neither.
type symbol struct {
	id    int32
	known bool    // it is the token id
	bytes []int32 // the tokens of its bytes, if it is no token
}

// metaspace stands for a space.
const metaspace = "▁"

// symbolOf is the symbol of a byte or character as the vocabulary spells it.
func (b *bpe) symbolOf(spelling string) symbol {
	if id, ok := b.vocab[spelling]; ok {
		return symbol{id: id, known: true}
	}
	if b.byteFallback {
		var ids []int32
		for i := range len(spelling) {
			if id, ok := b.vocab[fmt.Sprintf("<0x%02X>", spelling[i])]; ok {
				ids = append(ids, id)
			}
		}
		if len(ids) == len(spelling) {
			return symbol{bytes: ids}
		}
	}
	return symbol{}
}

// prepare makes what encoding needs of the vocabulary.
func (b *bpe) prepare() {
	b.tokens = make(map[int32]string, len(b.vocab))
	_, b.separable = b.vocab[metaspace]
	b.separable = b.separable && !b.byteLevel
	for spelling, id := range b.vocab {
		b.tokens[id] = spelling
		b.separable = b.separable && nextWord(spelling) == len(spelling)
	}
	alphabet := byteAlphabet()
	for i := range b.bytes {
		switch {
		case b.byteLevel:
			b.bytes[i] = b.symbolOf(string(alphabet[i]))
		case i < utf8.RuneSelf:
			b.bytes[i] = b.symbolOf(string(rune(i)))
		}
	}
}

// nextWord is the length of the first word of a text: metaspaces and what follows up to the next.
func nextWord(text string) int {
	for at := 0; ; {
		i := strings.Index(text[at:], metaspace)
		if i < 0 {
			return len(text)
		}
		if at += i; at > 0 && i > 0 {
			return at
		}
		at += len(metaspace)
	}
}

// byteAlphabet is the character by which byte-level vocabularies spell each byte: itself if it is printable Latin-1, else the next from U+0100 on.
func byteAlphabet() (alphabet [256]rune) {
	next := rune(0x100)
	for b := range rune(256) {
		if '!' <= b && b <= '~' || 0xa1 <= b && b <= 0xac || 0xae <= b {
			alphabet[b] = b
			continue
		}
		alphabet[b] = next
		next++
	}
	return alphabet
}

// spelled is the bytes that a byte-level token stands for, unless a character of it stands for none.
func spelled(token string, byteOf map[rune]byte) (string, bool) {
	raw := make([]byte, 0, len(token))
	for _, r := range token {
		b, ok := byteOf[r]
		if !ok {
			return "", false
		}
		raw = append(raw, b)
	}
	return string(raw), true
}

// byteOfAlphabet is byteAlphabet the other way round.
func byteOfAlphabet() map[rune]byte {
	byteOf := make(map[rune]byte, 256)
	for b, r := range byteAlphabet() {
		byteOf[r] = byte(b)
	}
	return byteOf
}

// pairs is a hash table from two tokens that stand side by side to what they become.
type pairs struct {
	keys  []uint64 // left<<32 | right; noPair: nothing
	to    []merged
	shift int // of a hash, to an index
}

// merged is what a pair becomes, and how urgently: the lowest rank first.
type merged struct {
	rank uint32
	id   int32
}

const (
	noPair  = ^uint64(0)
	noMerge = ^uint32(0) // a rank
)

func key(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

// newPairs makes a table for n pairs.
func newPairs(n int) pairs {
	bits := 4
	for 1<<bits < 2*n {
		bits++
	}
	p := pairs{keys: make([]uint64, 1<<bits), to: make([]merged, 1<<bits), shift: 64 - bits}
	for i := range p.keys {
		p.keys[i] = noPair
	}
	return p
}

// slot is where k is, or would be.
func (p *pairs) slot(k uint64) int {
	i := int((k ^ k>>29) * 0x9e3779b97f4a7c15 >> p.shift)
	for p.keys[i] != k && p.keys[i] != noPair {
		i = (i + 1) & (len(p.keys) - 1)
	}
	return i
}

// set sets what a pair becomes; of two merges of one pair the later counts.
func (p *pairs) set(left, right int32, m merged) {
	k := key(left, right)
	i := p.slot(k)
	p.keys[i], p.to[i] = k, m
}

// get is what a pair becomes; its rank is noMerge if it stays.
func (p *pairs) get(left, right int32) merged {
	if i := p.slot(key(left, right)); p.keys[i] != noPair {
		return p.to[i]
	}
	return merged{rank: noMerge}
}
