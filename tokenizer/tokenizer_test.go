// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"slices"
	"strings"
	"testing"
)

func newBytes(t *testing.T) Bytes {
	t.Helper()
	tok, err := NewBytes("<|begin_of_text|>", "<|end_of_text|>")
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestBytesAndSpecialsHaveTheirIDs(t *testing.T) {
	tok := newBytes(t)
	if n := tok.VocabSize(); n != 258 {
		t.Errorf("vocabulary of %d, want 258", n)
	}
	ids := tok.Encode([]int32{7}, "aé\xff")
	if want := []int32{7, 97, 0xc3, 0xa9, 0xff}; !slices.Equal(ids, want) {
		t.Errorf("ids %v, want %v", ids, want)
	}
	begin, ok1 := tok.ID("<|begin_of_text|>")
	end, ok2 := tok.ID("<|end_of_text|>")
	if !ok1 || !ok2 || begin != 256 || end != 257 {
		t.Errorf("specials have ids %d, %d", begin, end)
	}
	if _, ok := tok.ID("<|pad|>"); ok {
		t.Error("a special that was not given has an id")
	}
	if text, err := tok.Decode([]int32{begin, 'h', 'i', end}); err != nil || text != "<|begin_of_text|>hi<|end_of_text|>" {
		t.Errorf("%q, %v", text, err)
	}
}

// Text cannot smuggle a special in: its name is encoded letter by letter.
func TestTextHasNoSpecials(t *testing.T) {
	ids := newBytes(t).Encode(nil, "<|end_of_text|>")
	if len(ids) != len("<|end_of_text|>") || slices.Max(ids) > 255 {
		t.Errorf("ids %v", ids)
	}
}

func TestBadInputIsNamed(t *testing.T) {
	tok := newBytes(t)
	for _, id := range []int32{-1, 258} {
		if _, err := tok.Decode([]int32{1, id}); err == nil || !strings.Contains(err.Error(), "at position 1 is outside the vocabulary of 258") {
			t.Errorf("id %d: %v", id, err)
		}
	}
	for _, specials := range [][]string{{"a", "a"}, {""}} {
		if _, err := NewBytes(specials...); err == nil || !strings.Contains(err.Error(), "is empty or there twice") {
			t.Errorf("specials %q: %v", specials, err)
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("package main\n")
	f.Add("\x00\xff<|end_of_text|>")
	f.Fuzz(func(t *testing.T, text string) {
		tok := newBytes(t)
		got, err := tok.Decode(tok.Encode(nil, text))
		if err != nil || got != text {
			t.Errorf("%q became %q, %v", text, got, err)
		}
	})
}
