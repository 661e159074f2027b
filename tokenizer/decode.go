// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Decoder turns ids into text while they are made. What it returns is whole characters: the beginning of one is kept back until it is
// complete, or known to be none. All that it returned, and then Flush, is the text that [Tokenizer.Decode] gives of all ids. It must not be used from
// several goroutines at once.
type Decoder struct {
	// SkipSpecial leaves out special tokens, as the Rust library's skip_special_tokens does.
	SkipSpecial bool

	t      *Tokenizer
	stages []stage
}

// filter is a step from tokens to text; start begins a text.
type filter interface{ start() stage }

// stage is a filter at work on one text. Each takes and returns tokens as they come.
type stage interface {
	next(token string, out []string) []string
	flush(out []string) []string
}

// NewDecoder begins a text.
func (t *Tokenizer) NewDecoder() *Decoder {
	d := &Decoder{t: t}
	for _, f := range t.decoding {
		d.stages = append(d.stages, f.start())
	}
	return d
}

// Next is the text that becomes known with an id.
func (d *Decoder) Next(id int32) string {
	token, ok := d.t.model.tokens[id]
	if a := d.t.added.byID[id]; a != nil {
		token, ok = a.found, true
	}
	if !ok || d.SkipSpecial && d.t.added.specials[token] {
		return ""
	}
	return d.pass(0, []string{token})
}

// Flush is the rest of the text. The decoder must not be used after it.
func (d *Decoder) Flush() string {
	var text strings.Builder
	for i, s := range d.stages {
		text.WriteString(d.pass(i+1, s.flush(nil)))
	}
	return text.String()
}

// pass sends tokens through the stages from one on.
func (d *Decoder) pass(from int, tokens []string) string {
	for _, s := range d.stages[from:] {
		var out []string
		for _, token := range tokens {
			out = s.next(token, out)
		}
		tokens = out
	}
	return strings.Join(tokens, "")
}

// stateless is a stage that changes each token alone.
type stateless func(token string) string

func (f stateless) start() stage                             { return f }
func (f stateless) next(token string, out []string) []string { return append(out, f(token)) }
func (f stateless) flush(out []string) []string              { return out }

// byteLevel makes text of tokens that are spelled in byteAlphabet. One that has other characters stands for itself.
type byteLevel struct{ byteOf map[rune]byte }

func (f byteLevel) start() stage { return &bytesOf{byteLevel: f} }

type bytesOf struct {
	byteLevel
	rest []byte // the beginning of a character
}

func (s *bytesOf) next(token string, out []string) []string {
	raw, ok := spelled(token, s.byteOf)
	if !ok {
		raw = token
	}
	s.rest = append(s.rest, raw...)
	whole := len(s.rest) - unfinished(s.rest)
	out = append(out, lossy(s.rest[:whole]))
	s.rest = append(s.rest[:0], s.rest[whole:]...)
	return out
}

func (s *bytesOf) flush(out []string) []string { return append(out, lossy(s.rest)) }

// byteTokens makes text of tokens such as <0xE2>, those that follow one another together: each is U+FFFD if they are no text together.
type byteTokens struct{}

func (byteTokens) start() stage { return &byteRun{} }

type byteRun struct{ raw []byte }

func (s *byteRun) next(token string, out []string) []string {
	if len(token) == len("<0x00>") && strings.HasPrefix(token, "<0x") && token[5] == '>' {
		if b, err := strconv.ParseUint(token[3:5], 16, 8); err == nil {
			s.raw = append(s.raw, byte(b))
			return out
		}
	}
	return append(s.flush(out), token)
}

func (s *byteRun) flush(out []string) []string {
	raw := s.raw
	s.raw = nil
	switch {
	case len(raw) == 0:
		return out
	case utf8.Valid(raw):
		return append(out, string(raw))
	}
	return append(out, strings.Repeat(string(utf8.RuneError), len(raw)))
}

// stripStart takes a number of characters from the beginning of the text.
type stripStart struct {
	char  rune
	count int
}

func (f stripStart) start() stage { return &f }

func (f *stripStart) next(token string, out []string) []string {
	for f.count > 0 && token != "" {
		rest, ok := strings.CutPrefix(token, string(f.char))
		if !ok {
			f.count = 0
			break
		}
		token = rest
		f.count--
	}
	return append(out, token)
}

func (f *stripStart) flush(out []string) []string { return out }

// spacesOf writes a space for each metaspace, and none for those in the first token if one was put before the text.
type spacesOf struct{ prepended bool }

func (f spacesOf) start() stage { return &f }

func (f *spacesOf) next(token string, out []string) []string {
	to := " "
	if f.prepended {
		to, f.prepended = "", false
	}
	return append(out, strings.ReplaceAll(token, metaspace, to))
}

func (f *spacesOf) flush(out []string) []string { return out }
