// SPDX-License-Identifier: Apache-2.0

package tokenizer

import "unicode/utf8"

// token is an entry of added_tokens: one that is found in the text before the text is split.
type token struct {
	id                         int32
	content                    string
	singleWord, lstrip, rstrip bool
	normalized                 bool // it is found in the normalized text
	special                    bool
	found                      string // content as the text has it when it is looked for, and as it is decoded
}

// added are the added tokens.
type added struct {
	ids             map[string]int32
	byID            map[int32]*token
	specials        map[string]bool // contents of special tokens
	raw, normalized finder          // those that are found before and after the text is normalized
}

func newAdded(tokens []*token, n normalizer, c *categories) *added {
	a := &added{ids: map[string]int32{}, byID: map[int32]*token{}, specials: map[string]bool{}, raw: finder{categories: c}, normalized: finder{categories: c}}
	for _, t := range tokens {
		a.ids[t.content], a.byID[t.id], a.specials[t.content] = t.id, t, t.special
		if t.found = t.content; t.normalized && n != nil {
			t.found = n.normalize(t.content)
		}
	}
	for _, special := range []bool{true, false} { // of two that are spelled alike the first is found
		for _, t := range tokens {
			switch {
			case t.special != special:
			case t.normalized:
				a.normalized.insert(t.found, t)
			default:
				a.raw.insert(t.found, t)
			}
		}
	}
	return a
}

// finder finds added tokens: of those that begin first the longest.
type finder struct {
	*categories
	first [256]*trie // by the first byte
	any   bool
}

// trie is a node of the tree of their spellings.
type trie struct {
	next  map[byte]*trie
	token *token // that ends here
}

func (f *finder) insert(spelling string, t *token) {
	if spelling == "" {
		return
	}
	f.any = true
	at := f.first[spelling[0]]
	if at == nil {
		at = &trie{next: map[byte]*trie{}}
		f.first[spelling[0]] = at
	}
	for i := 1; i < len(spelling); i++ {
		next := at.next[spelling[i]]
		if next == nil {
			next = &trie{next: map[byte]*trie{}}
			at.next[spelling[i]] = next
		}
		at = next
	}
	if at.token == nil {
		at.token = t
	}
}

// find is the first token in text from a byte on, and where it lies; nil if there is none.
func (f *finder) find(text string, from int) (found *token, start, end int) {
	for start = from; start < len(text); start++ {
		at := f.first[text[start]]
		for i := start + 1; at != nil; i++ {
			if at.token != nil {
				found, end = at.token, i
			}
			if i == len(text) {
				break
			}
			at = at.next[text[i]]
		}
		if found != nil {
			return found, start, end
		}
	}
	return nil, 0, 0
}

// cut hands the tokens in a piece to add and what lies between them, unless it is empty, to rest. A token takes the white space beside it if
// it says so. It is tokenizers' AddedVocabulary::find_matches.
func (f *finder) cut(p piece, add func(int32), rest func(piece)) {
	done := 0
	between := func(to int) {
		if done < to {
			rest(piece{p.text[done:to], p.first && done == 0})
		}
	}
	for from := 0; f.any; {
		t, start, end := f.find(p.text, from)
		if t == nil {
			break
		}
		from = end
		if t.singleWord && (f.wordBefore(p.text[:start]) || f.wordAfter(p.text[end:])) {
			continue
		}
		if t.lstrip {
			for start > done {
				r, n := utf8.DecodeLastRuneInString(p.text[:start])
				if !isSpace(r) {
					break
				}
				start -= n
			}
		}
		if t.rstrip {
			for end < len(p.text) {
				r, n := utf8.DecodeRuneInString(p.text[end:])
				if !isSpace(r) {
					break
				}
				end += n
			}
		}
		between(start)
		add(t.id)
		done = end
	}
	between(len(p.text))
}

func (f *finder) wordBefore(text string) bool {
	r, n := utf8.DecodeLastRuneInString(text)
	return n > 0 && f.isWord(r)
}

func (f *finder) wordAfter(text string) bool {
	r, n := utf8.DecodeRuneInString(text)
	return n > 0 && f.isWord(r)
}
