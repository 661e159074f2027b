// SPDX-License-Identifier: Apache-2.0

package data

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

func source(t *testing.T, c Config) *Source {
	t.Helper()
	s, err := OpenSource(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The first bad id of all files is found, whichever goroutine sees it first.
func TestScanFindsTheFirstBadID(t *testing.T) {
	ids := func(n int, bad ...int) string {
		b := bytes.Repeat([]byte{1, 0}, n)
		for _, i := range bad {
			b[2*i+1] = 1 // 257
		}
		return string(b)
	}
	dir := folder(t, map[string]string{"a.u16": ids(10), "b.u16": ids(3*readBytes, 2*readBytes+5, 2*readBytes+9), "c.u16": ids(10, 0)})
	c := Config{Dataset: "tokens", Path: dir, VocabSize: 257}
	var read, all atomic.Int64
	want := fmt.Sprintf(`training.dataset_path = %q: %s/b.u16: id 257 at position %d is outside the vocabulary of 257 (model.args.vocab_size)`, dir, dir, 2*readBytes+5)
	if err := source(t, c).Scan(nil); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	c.VocabSize = 258
	if err := source(t, c).Scan(func(r, a int64) { read.Store(max(read.Load(), r)); all.Store(a) }); err != nil {
		t.Error(err)
	}
	if want := int64(20 + 6*readBytes + 20); read.Load() != want || all.Load() != want {
		t.Errorf("%d of %d bytes were read, want all %d", read.Load(), all.Load(), want)
	}
}

func TestScanOpensEveryFile(t *testing.T) {
	for _, dataset := range []string{"text", "tokens", "gosource"} {
		dir := folder(t, map[string]string{"a.u16": "abcd", "a.go": "abcd", "b.u16": "abcd", "b.go": "abcd"})
		s := source(t, Config{Dataset: dataset, Path: dir, VocabSize: 1 << 16})
		gone := s.files[1].path
		if err := os.Remove(gone); err != nil {
			t.Fatal(err)
		}
		if err := s.Scan(nil); err == nil || !strings.Contains(err.Error(), gone+": ") {
			t.Errorf("%s: %v, want one that names %s", dataset, err, gone)
		}
	}
}

// A fingerprint is of the files' names below the root and their contents; where the root lies does not matter.
func TestFingerprintIsOfNamesAndContents(t *testing.T) {
	of := func(path string) string {
		t.Helper()
		print, err := source(t, Config{Dataset: "text", Path: path, VocabSize: 256}).Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		return print
	}
	same := map[string]string{"a": "text", "b/c": "more"}
	first := of(folder(t, same))
	if second := of(folder(t, same)); second != first {
		t.Error("equal folders differ")
	}
	whole := sha256.Sum256([]byte("text"))
	all := sha256.Sum256(append([]byte("a\x00\x04\x00\x00\x00\x00\x00\x00\x00"), whole[:]...))
	if got, want := of(folder(t, map[string]string{"a": "text"})), fmt.Sprintf("%x", all); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	seen := map[string]string{first: "the first"}
	for what, files := range map[string]map[string]string{
		"another byte":     {"a": "texT", "b/c": "more"},
		"another name":     {"a": "text", "b/d": "more"},
		"a file less":      {"a": "text"},
		"another boundary": {"a": "textm", "b/c": "ore"},
	} {
		print := of(folder(t, files))
		if seen[print] != "" {
			t.Errorf("%s: the fingerprint of %s", what, seen[print])
		}
		seen[print] = what
	}
	// A single file has no name that counts.
	dir := folder(t, map[string]string{"a": "text", "b": "text"})
	if of(filepath.Join(dir, "a")) != of(filepath.Join(dir, "b")) {
		t.Error("equal files with different names differ")
	}
}
