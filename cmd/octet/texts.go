// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"octet/tokenizer"
)

// texts is how a model's ids become text: by its tokenizer, as bytes, or not at all.
type texts struct {
	tokens  *tokenizer.Tokenizer // nil: none
	isBytes bool
}

// openTexts finds the tokenizer of a model, in the folder assets where that is given.
func (m *saved) openTexts(assets string) (t texts, err error) {
	given := assets != ""
	if !given {
		assets = m.assets
	}
	if assets == "" {
		return texts{isBytes: m.isBytes}, nil
	}
	if _, err := os.Stat(filepath.Join(assets, tokenizer.FileName)); errors.Is(err, fs.ErrNotExist) && !given {
		return t, nil
	}
	if t.tokens, err = tokenizer.Open(assets); err != nil {
		return t, err
	}
	if n, vocab := t.tokens.VocabSize(), m.config.Args.Vocab; n > vocab {
		return t, fmt.Errorf("the tokenizer in %s has ids up to %d, the model of %s only a vocabulary of %d", assets, n-1, m.path, vocab)
	}
	return t, nil
}

// encode is the ids of a text, with those that the tokenizer puts around it.
func (t texts) encode(text string) ([]int32, error) {
	switch {
	case t.tokens != nil:
		return t.tokens.Encode(text), nil
	case t.isBytes:
		ids := make([]int32, len(text))
		for i := range len(text) {
			ids[i] = int32(text[i])
		}
		return ids, nil
	}
	return nil, fmt.Errorf("the model comes without a %s: name its folder as --assets", tokenizer.FileName)
}

// decoder returns the text of ids as they come, whole characters at a time, and at the end what is left.
func (t texts) decoder() (next func(id int32) string, rest func() string) {
	switch {
	case t.tokens != nil:
		d := t.tokens.NewDecoder()
		d.SkipSpecial = true
		return d.Next, d.Flush
	case t.isBytes:
		var b byteText
		return b.next, b.rest
	}
	comma := ""
	return func(id int32) string {
		text := comma + strconv.Itoa(int(id))
		comma = ","
		return text
	}, func() string { return "" }
}

// byteText is text whose ids are bytes.
type byteText struct{ held []byte }

// next holds back the beginning of a character. An id that is no byte is U+FFFD.
func (b *byteText) next(id int32) string {
	if id >= 256 {
		return b.rest() + string(utf8.RuneError)
	}
	b.held = append(b.held, byte(id))
	if !utf8.FullRune(b.held) {
		return ""
	}
	return b.rest()
}

func (b *byteText) rest() string {
	text := string(b.held)
	b.held = b.held[:0]
	return text
}

// stops are the ids that end a text: the model's, and the tokenizer's.
func (t texts) stops(m *saved) []int {
	stops := slices.Clone(m.config.EOS)
	if t.tokens != nil {
		if id, ok := t.tokens.EOS(); ok {
			stops = append(stops, int(id))
		}
	}
	return stops
}

// parseIDs reads ids with commas between them.
func parseIDs(text string) (ids []int32, err error) {
	for _, word := range strings.Split(text, ",") {
		id, err := strconv.ParseInt(strings.TrimSpace(word), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%q is no token id; want numbers such as 5,17,200", word)
		}
		ids = append(ids, int32(id))
	}
	return ids, nil
}
