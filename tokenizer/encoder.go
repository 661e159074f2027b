// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Encoder encodes one text after the other and remembers the ids of words. It must not be used from several goroutines at once.
type Encoder struct {
	t     *Tokenizer
	words words
	merge merger
	ids   []int32       // of the text that is being encoded
	yield []func(piece) // what takes the pieces of each splitter; the last encodes a word
}

// NewEncoder returns an encoder without memory of any word.
func (t *Tokenizer) NewEncoder() *Encoder {
	e := &Encoder{t: t, words: newWords(), merge: merger{model: t.model}}
	e.yield = make([]func(piece), len(t.splitters)+1)
	e.yield[len(t.splitters)] = func(p piece) { e.word(p.text) }
	for i, s := range t.splitters {
		e.yield[i] = func(p piece) { s.split(p, e.yield[i+1]) }
	}
	return e
}

// Append appends the ids of a text, without what the template adds.
func (e *Encoder) Append(ids []int32, text string) []int32 {
	e.ids = ids
	if !utf8.ValidString(text) {
		text = lossy([]byte(text))
	}
	t := e.t
	t.added.raw.cut(piece{text, true}, e.add, func(p piece) {
		if t.normalizer != nil {
			p.text = t.normalizer.normalize(p.text)
		}
		t.added.normalized.cut(p, e.add, e.yield[0])
	})
	ids, e.ids = e.ids, nil
	return ids
}

// AppendDocument appends the ids of a text between the token that begins one and the token that ends one, where the tokenizer has them.
func (e *Encoder) AppendDocument(ids []int32, text string) []int32 {
	if e.t.bos != nil {
		ids = append(ids, *e.t.bos)
	}
	ids = e.Append(ids, text)
	if e.t.eos != nil {
		ids = append(ids, *e.t.eos)
	}
	return ids
}

func (e *Encoder) add(id int32) { e.ids = append(e.ids, id) }

// word appends the ids of what the splitters left whole.
func (e *Encoder) word(text string) {
	if !e.t.model.separable {
		e.cached(text)
		return
	}
	for len(text) > 0 {
		end := nextWord(text)
		e.cached(text[:end])
		text = text[end:]
	}
}

// cached is word for one that is looked up in the memory first.
func (e *Encoder) cached(text string) {
	if ids, ok := e.words.get(text); ok {
		e.ids = append(e.ids, ids...)
		return
	}
	from := len(e.ids)
	e.ids = e.merge.append(e.ids, text)
	e.words.put(text, e.ids[from:])
}

// Limits of the memory of words: what is longer comes too seldom to be remembered, and when it is full it begins anew.
const (
	longestWord = 128     // bytes
	mostWords   = 1 << 16 // entries
)

// words remembers the ids of words.
type words struct {
	at  map[string]span
	ids []int32 // of all words, one after the other
}

// span is a part of words.ids.
type span struct{ from, to int32 }

func newWords() words { return words{at: make(map[string]span)} }

func (w *words) get(text string) ([]int32, bool) {
	s, ok := w.at[text]
	return w.ids[s.from:s.to], ok
}

func (w *words) put(text string, ids []int32) {
	if len(text) > longestWord {
		return
	}
	if len(w.at) == mostWords {
		clear(w.at)
		w.ids = w.ids[:0]
	}
	from := int32(len(w.ids))
	w.ids = append(w.ids, ids...)
	w.at[strings.Clone(text)] = span{from, int32(len(w.ids))}
}
