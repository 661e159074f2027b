// SPDX-License-Identifier: Apache-2.0

// Package tokenizer turns text into token ids and back as Hugging Face's tokenizers do, from the tokenizer.json in a model's folder.
//
// It reads byte-level BPE (Llama 3, GPT-2, Qwen) and BPE over characters with bytes to fall back to (Llama 2). The ids are those of the
// Rust library for every text; where a file asks for something that is not here, Open refuses it and names the field.
//
// A [Tokenizer] is only read, so any number of goroutines may share it. [Tokenizer.Encode] and [Tokenizer.Decode] are for single texts; whoever
// has many keeps an [Encoder], which remembers words, and whoever prints ids while they are made a [Decoder].
package tokenizer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// FileName is the file that Open reads in a model's folder.
const FileName = "tokenizer.json"

// configName is the file beside it that says which token begins a text and which ends it.
const configName = "tokenizer_config.json"

// Tokenizer is what a tokenizer.json says.
type Tokenizer struct {
	added      *added
	normalizer normalizer
	splitters  []splitter
	model      *bpe

	prefix, suffix []int32   // that the template adds to a text
	decoding       []filter  // from tokens to text
	bos, eos       *int32    // nil: there is none
	size           int       // the highest id and one
	sum            [32]byte  // of all that the ids depend on
	encoders       sync.Pool // *Encoder, for Encode
}

// Open reads the tokenizer of a model's folder: tokenizer.json, and bos_token and eos_token of tokenizer_config.json. Without the latter they
// are what the template puts before and after a text.
func Open(dir string) (*Tokenizer, error) {
	path := filepath.Join(dir, FileName)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	t, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %s: %w", path, err)
	}
	path = filepath.Join(dir, configName)
	text, err = os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return t, nil
	case err != nil:
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	if err := t.configure(text); err != nil {
		return nil, fmt.Errorf("tokenizer: %s: %w", path, err)
	}
	return t, nil
}

// Parse makes a tokenizer of the text of a tokenizer.json.
func Parse(text []byte) (*Tokenizer, error) {
	t, err := parse(text)
	if err != nil {
		return nil, err
	}
	t.sum = sha256.Sum256(text)
	t.encoders.New = func() any { return t.NewEncoder() }
	if len(t.prefix) > 0 {
		t.bos = &t.prefix[0]
	}
	if n := len(t.suffix); n > 0 {
		t.eos = &t.suffix[n-1]
	}
	return t, nil
}

// configure takes bos_token and eos_token from the text of a tokenizer_config.json.
func (t *Tokenizer) configure(text []byte) error {
	c, err := anyObject(text, "")
	if err != nil {
		return err
	}
	for _, token := range []struct {
		field string
		id    **int32
	}{{"bos_token", &t.bos}, {"eos_token", &t.eos}} {
		if _, ok := c.values[token.field]; !ok {
			continue
		}
		content, err := c.token(token.field)
		if err != nil {
			return err
		}
		*token.id = nil
		if content == "" {
			continue
		}
		id, ok := t.ID(content)
		if !ok {
			return c.refuse(token.field, "the vocabulary has no such token")
		}
		*token.id = &id
	}
	t.sum = sha256.Sum256(fmt.Appendf(t.sum[:], "%s %s", show(t.bos), show(t.eos)))
	return nil
}

func show(id *int32) string {
	if id == nil {
		return "none"
	}
	return fmt.Sprint(*id)
}

// VocabSize is the highest id and one: a model needs at least as many rows.
func (t *Tokenizer) VocabSize() int { return t.size }

// BOS is the token that begins a text, if there is one.
func (t *Tokenizer) BOS() (id int32, ok bool) { return deref(t.bos) }

// EOS is the token that ends a text, if there is one.
func (t *Tokenizer) EOS() (id int32, ok bool) { return deref(t.eos) }

func deref(id *int32) (int32, bool) {
	if id == nil {
		return 0, false
	}
	return *id, true
}

// ID is the id of a token as tokenizer.json spells it, such as "<|end_of_text|>" or "Ġthe".
func (t *Tokenizer) ID(token string) (id int32, ok bool) {
	if id, ok := t.added.ids[token]; ok {
		return id, true
	}
	id, ok = t.model.vocab[token]
	return id, ok
}

// Token is the spelling of an id.
func (t *Tokenizer) Token(id int32) (token string, ok bool) {
	if a, ok := t.added.byID[id]; ok {
		return a.content, true
	}
	token, ok = t.model.tokens[id]
	return token, ok
}

// Fingerprint is the SHA-256, in hexadecimal digits, of all that the ids of a document depend on.
func (t *Tokenizer) Fingerprint() string { return fmt.Sprintf("%x", t.sum) }

// Encode returns the ids of a text with those that the template adds, as the Rust library's encode does: what a model is asked with. Bytes
// that are not UTF-8 are read as U+FFFD.
func (t *Tokenizer) Encode(text string) []int32 {
	e := t.encoders.Get().(*Encoder)
	defer t.encoders.Put(e)
	ids := append([]int32{}, t.prefix...)
	return append(e.Append(ids, text), t.suffix...)
}

// Decode returns the text of ids, that of special tokens included, as the Rust library's decode does with skip_special_tokens=False. Ids that
// are no token's have no text.
func (t *Tokenizer) Decode(ids []int32) string {
	var text strings.Builder
	d := t.NewDecoder()
	for _, id := range ids {
		text.WriteString(d.Next(id))
	}
	text.WriteString(d.Flush())
	return text.String()
}
