// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
)

// mostTokens bounds the ids: what an embedding can have of rows.
const mostTokens = 1 << 24

func (p *parser) readModel(o object) error {
	kind := "BPE" // old files do not say
	if err := o.read("type", &kind); err != nil {
		return err
	}
	if kind != "BPE" {
		return o.refuse("type", "octet has BPE")
	}
	if err := o.only("type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"); err != nil {
		return err
	}
	b := &bpe{byteLevel: p.byteLevel}
	dropout, ignoreMerges, unknown := 0.0, false, ""
	for _, field := range []struct {
		name string
		to   any
	}{
		{"dropout", &dropout}, {"unk_token", &unknown}, {"fuse_unk", &b.fuse}, {"byte_fallback", &b.byteFallback}, {"ignore_merges", &ignoreMerges}, {"vocab", &b.vocab},
	} {
		if err := o.read(field.name, field.to); err != nil {
			return err
		}
	}
	if dropout != 0 {
		return o.refuse("dropout", "octet encodes a text the same way each time: set it to null")
	}
	for _, name := range []string{"continuing_subword_prefix", "end_of_word_suffix"} {
		text := ""
		if err := o.read(name, &text); err != nil {
			return err
		}
		if text != "" {
			return o.refuse(name, "octet has no marks within words: set it to null")
		}
	}
	if len(b.vocab) == 0 {
		return o.refuse("vocab", "it is empty")
	}
	byID := make(map[int32]string, len(b.vocab))
	for token, id := range b.vocab {
		if id < 0 || id >= mostTokens {
			return o.refuse("vocab", "the id %d of %q is not between 0 and %d", id, token, mostTokens-1)
		}
		if same, ok := byID[id]; ok {
			return o.refuse("vocab", "%q and %q have the id %d", min(token, same), max(token, same), id)
		}
		byID[id] = token
	}
	if o.has("unk_token") {
		id, ok := b.vocab[unknown]
		if !ok {
			return o.refuse("unk_token", "the vocabulary has no such token")
		}
		b.unknown = &id
	}
	if err := b.readMerges(o); err != nil {
		return err
	}
	if ignoreMerges {
		b.whole = b.words()
	}
	b.prepare()
	p.model = b
	return nil
}

// words is the vocabulary by what tokens look like in a word.
func (b *bpe) words() map[string]int32 {
	if !b.byteLevel {
		return b.vocab
	}
	byteOf := byteOfAlphabet()
	words := make(map[string]int32, len(b.vocab))
	for token, id := range b.vocab {
		if raw, ok := spelled(token, byteOf); ok {
			words[raw] = id
		}
	}
	return words
}

// readMerges reads the list of merges, each "a b" or ["a", "b"], the most urgent first.
func (b *bpe) readMerges(o object) error {
	var raws []json.RawMessage
	if err := o.read("merges", &raws); err != nil {
		return err
	}
	if len(raws) >= math.MaxInt32 {
		return o.refuse("merges", "there are %d", len(raws))
	}
	b.merges = newPairs(len(raws))
	for rank, raw := range raws {
		var pair []string
		if bytes.HasPrefix(raw, []byte("[")) {
			if err := json.Unmarshal(raw, &pair); err != nil {
				return o.refuse("merges", "number %d: %v", rank, err)
			}
		} else {
			var text string
			if err := json.Unmarshal(raw, &text); err != nil {
				return o.refuse("merges", "number %d: %v", rank, err)
			}
			pair = strings.Split(text, " ")
		}
		if len(pair) != 2 {
			return o.refuse("merges", "number %d is %s: want two tokens", rank, shorten(raw))
		}
		var ids [3]int32
		for i, token := range []string{pair[0], pair[1], pair[0] + pair[1]} {
			id, ok := b.vocab[token]
			if !ok {
				return o.refuse("merges", "number %d is %s: the vocabulary has no token %q", rank, shorten(raw), token)
			}
			ids[i] = id
		}
		b.merges.set(ids[0], ids[1], merged{uint32(rank), ids[2]})
	}
	return nil
}

// readAdded reads added_tokens. An id is that of the vocabulary, or the next, as in tokenizers' AddedVocabulary::add_tokens: a file that says
// otherwise was changed by hand.
func (p *parser) readAdded(file object) error {
	list, err := file.list("added_tokens")
	if err != nil {
		return err
	}
	ids := make(map[string]int32, len(list))
	for _, id := range p.model.vocab {
		p.size = max(p.size, int(id)+1)
	}
	next := int32(len(p.model.vocab))
	var tokens []*token
	for _, o := range list {
		if err := o.only("id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"); err != nil {
			return err
		}
		t := &token{id: -1}
		for _, field := range []struct {
			name string
			to   any
		}{
			{"id", &t.id}, {"content", &t.content}, {"single_word", &t.singleWord}, {"lstrip", &t.lstrip},
			{"rstrip", &t.rstrip}, {"normalized", &t.normalized}, {"special", &t.special},
		} {
			if err := o.read(field.name, field.to); err != nil {
				return err
			}
		}
		if t.content == "" {
			return o.refuse("content", "it is empty")
		}
		want, known := p.model.vocab[t.content]
		if !known {
			if want, known = ids[t.content]; !known {
				want = next
			}
		}
		if t.id != want {
			return o.refuse("id", "the id of %q is %d", t.content, want)
		}
		next = max(next, want+1)
		ids[t.content] = want
		p.size = max(p.size, int(want)+1)
		tokens = append(tokens, t)
	}
	p.added = newAdded(tokens, p.normalizer, p.categories)
	return nil
}
