// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// golden is a text, and what the Rust library makes of it (testdata/make.py).
type golden struct {
	Text       *string // nil: ids that no text has
	IDs, Alone []int32 // with and without what the template adds
	Decoded    string  // of IDs
	Without    string  // without special tokens
}

// kinds are the folders of testdata.
func kinds(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*/" + FileName)
	if err != nil || len(paths) < 9 {
		t.Fatalf("%d tokenizers in testdata: %v", len(paths), err)
	}
	for i := range paths {
		paths[i] = filepath.Dir(paths[i])
	}
	return paths
}

func open(t testing.TB, dir string) *Tokenizer {
	t.Helper()
	tok, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func goldens(t *testing.T, dir string) (all []golden) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestIDsAreThoseOfTheRustLibrary(t *testing.T) {
	for _, dir := range kinds(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			tok := open(t, dir)
			e := tok.NewEncoder()
			for _, g := range goldens(t, dir) {
				if g.Text == nil {
					continue
				}
				if got := tok.Encode(*g.Text); !slices.Equal(got, g.IDs) {
					t.Errorf("%q: ids %v, want %v", *g.Text, got, g.IDs)
				}
				if got := e.Append([]int32{7}, *g.Text); !slices.Equal(got[1:], g.Alone) || got[0] != 7 {
					t.Errorf("%q alone: ids %v, want %v", *g.Text, got, g.Alone)
				}
			}
		})
	}
}

// decodeStreaming decodes ids one by one and sees that nothing is cut.
func decodeStreaming(t *testing.T, tok *Tokenizer, ids []int32, skip bool) string {
	t.Helper()
	d := tok.NewDecoder()
	d.SkipSpecial = skip
	var all strings.Builder
	for i, id := range ids {
		part := d.Next(id)
		if !utf8.ValidString(part) {
			t.Errorf("%v: id %d is decoded to %q, which is no text", ids, i, part)
		}
		all.WriteString(part)
	}
	all.WriteString(d.Flush())
	return all.String()
}

func TestTextIsThatOfTheRustLibrary(t *testing.T) {
	for _, dir := range kinds(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			tok := open(t, dir)
			for _, g := range goldens(t, dir) {
				if got := tok.Decode(g.IDs); got != g.Decoded {
					t.Errorf("%v is decoded to %q, want %q", g.IDs, got, g.Decoded)
				}
				if got := decodeStreaming(t, tok, g.IDs, false); got != g.Decoded {
					t.Errorf("%v is decoded to %q as it comes, want %q", g.IDs, got, g.Decoded)
				}
				if got := decodeStreaming(t, tok, g.IDs, true); got != g.Without {
					t.Errorf("%v without special tokens is decoded to %q, want %q", g.IDs, got, g.Without)
				}
			}
		})
	}
}
