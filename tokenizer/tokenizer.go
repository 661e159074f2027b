// SPDX-License-Identifier: Apache-2.0

// Package tokenizer turns text into token ids and back.
//
// [Bytes] is the tokenizer of models that read bytes: an id below 256 is that byte, and named specials such as the mark of a text's end
// follow. It loses nothing, needs no files, and fits any text; its sequences are about four times as long as those of a trained vocabulary.
//
//	tok, err := tokenizer.NewBytes("<|begin_of_text|>", "<|end_of_text|>")
//	if err != nil {
//		return err
//	}
//	ids := tok.Encode(nil, "package main") // 112 97 99 …
//	end, _ := tok.ID("<|end_of_text|>")    // 257
//	text, err := tok.Decode(append(ids, end))
package tokenizer

import (
	"fmt"
	"slices"
	"strings"
)

// Tokenizer turns text into ids in [0, VocabSize()) and back.
type Tokenizer interface {
	// Encode appends the ids of text to dst. Text is only text: the name of a special within it is encoded as what it is spelled with.
	Encode(dst []int32, text string) []int32
	// Decode is the text of ids, specials by their names. An id outside the vocabulary is an error.
	Decode(ids []int32) (string, error)
	VocabSize() int
}

// Bytes has an id for each byte, then one for each special.
type Bytes struct {
	specials []string
}

var _ Tokenizer = Bytes{}

// byteValues is the number of ids that are bytes.
const byteValues = 256

// NewBytes makes the tokenizer whose specials have the ids 256, 257, … in the order given.
func NewBytes(specials ...string) (Bytes, error) {
	for i, s := range specials {
		if s == "" || slices.Contains(specials[:i], s) {
			return Bytes{}, fmt.Errorf("tokenizer: special %q is empty or there twice in %q", s, specials)
		}
	}
	return Bytes{slices.Clone(specials)}, nil
}

// Encode appends the bytes of text to dst.
func (Bytes) Encode(dst []int32, text string) []int32 {
	for i := range len(text) {
		dst = append(dst, int32(text[i]))
	}
	return dst
}

// Decode is the bytes, with the specials' names among them.
func (b Bytes) Decode(ids []int32) (string, error) {
	var text strings.Builder
	for i, id := range ids {
		switch {
		case id < 0 || int(id) >= b.VocabSize():
			return "", fmt.Errorf("tokenizer: id %d at position %d is outside the vocabulary of %d", id, i, b.VocabSize())
		case id < byteValues:
			text.WriteByte(byte(id))
		default:
			text.WriteString(b.specials[id-byteValues])
		}
	}
	return text.String(), nil
}

// VocabSize is 256 and the specials.
func (b Bytes) VocabSize() int { return byteValues + len(b.specials) }

// ID is the id of a special; false where there is none of that name.
func (b Bytes) ID(special string) (int32, bool) {
	i := slices.Index(b.specials, special)
	return int32(byteValues + i), i >= 0
}
