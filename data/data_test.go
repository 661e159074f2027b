// SPDX-License-Identifier: Apache-2.0

package data

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const golden = "../testdata/golden/llama_tokens.u16"

// folder makes files of the given contents and returns the folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// counting is n bytes of text of which no two windows are equal.
func counting(n int) string {
	var b []byte
	for i := 0; len(b) < n; i++ {
		b = fmt.Append(b, i, ",")
	}
	return string(b[:n])
}

func open(t *testing.T, c Config) *Loader {
	t.Helper()
	l, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func next(t *testing.T, l *Loader) *Batch {
	t.Helper()
	b := l.NewBatch()
	if err := l.Next(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// Step s of rank r of R reads the chunk (s·R + r)·B·S of B·S tokens, its targets shifted by one, and the golden file lasts for 20 steps.
func TestTokensAreReadInOrder(t *testing.T) {
	raw, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]int32, len(raw)/2)
	for i := range ids {
		ids[i] = int32(binary.LittleEndian.Uint16(raw[2*i:]))
	}
	const seq, batch = 64, 4
	for rank := range 2 {
		l := open(t, Config{Dataset: "tokens", Path: golden, SeqLen: seq, LocalBatch: batch, Rank: rank, Ranks: 2, VocabSize: 256})
		for step := range 20 {
			b := next(t, l)
			at := (step*2 + rank) * batch * seq
			if !slices.Equal(b.Inputs, ids[at:at+batch*seq]) || !slices.Equal(b.Targets, ids[at+1:at+1+batch*seq]) || b.Valid != batch*seq {
				t.Fatalf("rank %d, step %d: not the tokens from %d on", rank, step, at)
			}
		}
		if e := l.Epochs(30); e != 1.5 {
			t.Errorf("30 steps are %v epochs, want 1.5", e)
		}
		// The second epoch is as the first.
		if at, b := rank*batch*seq, next(t, l); !slices.Equal(b.Inputs, ids[at:at+batch*seq]) {
			t.Errorf("rank %d: the second epoch does not begin as the first", rank)
		}
	}
}

func TestTokensOfFourBytesInSeveralFiles(t *testing.T) {
	dir := folder(t, map[string]string{"b.u32": "\x02\x00\x01\x00\x03\x00\x00\x00", "a.u32": "\x00\x00\x00\x00\x01\x00\x00\x00", "notes.md": "odd"})
	l := open(t, Config{Dataset: "tokens", Path: dir, SeqLen: 3, LocalBatch: 1, Ranks: 1, VocabSize: 70000})
	if b := next(t, l); !slices.Equal(b.Inputs, []int32{0, 1, 65538}) || !slices.Equal(b.Targets, []int32{1, 65538, 3}) {
		t.Errorf("%v", b)
	}
}

// rows are the windows of a batch as text.
func rows(b *Batch, seq int) []string {
	var out []string
	for i := 0; i < len(b.Inputs); i += seq {
		out = append(out, fmt.Sprint(b.Inputs[i:i+seq], b.Targets[i:i+seq]))
	}
	return out
}

// The samples of each step of 12 are the same, in the same order, on any number of ranks, in any number of microbatches; an epoch has every
// window once, and the next has another order.
func TestTheGlobalBatchDoesNotDependOnTheRanks(t *testing.T) {
	const seq, global, steps = 5, 12, 6
	dir := folder(t, map[string]string{"a": counting(100), "d/b": counting(3), "d/c": "", "e": counting(976)[900:]})
	for _, dataset := range []string{"text", "tokens"} {
		c := Config{Dataset: dataset, Path: dir, SeqLen: seq, LocalBatch: global, Ranks: 1, VocabSize: 256, Seed: 3}
		if dataset == "tokens" {
			c.Path, c.VocabSize = golden, 256
		}
		var want []string // of all steps, from one rank
		one := open(t, c)
		for range steps {
			want = append(want, rows(next(t, one), seq)...)
		}
		for _, division := range []struct{ ranks, micro int }{{1, 3}, {2, 1}, {2, 2}, {3, 2}, {4, 3}, {12, 1}} {
			got := make([]string, len(want))
			c.Ranks, c.LocalBatch = division.ranks, global/division.ranks/division.micro
			for c.Rank = range c.Ranks {
				l := open(t, c)
				for m := range steps * division.micro {
					copy(got[(m*c.Ranks+c.Rank)*c.LocalBatch:], rows(next(t, l), seq))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %d ranks with %d microbatches have other samples than one rank", dataset, division.ranks, division.micro)
			}
		}
		if dataset == "tokens" {
			continue
		}
		windows := int(one.windows) // 179 bytes and 2 between the files: 36 windows, so 3 steps are an epoch
		first, second := slices.Clone(want[:windows]), slices.Clone(want[windows:2*windows])
		if windows != 36 || slices.Equal(first, second) {
			t.Errorf("%d windows an epoch, want 36 in another order each time", windows)
		}
		slices.Sort(first)
		slices.Sort(second)
		if len(slices.Compact(slices.Clone(first))) != windows || !slices.Equal(first, second) {
			t.Error("an epoch does not have each window once")
		}
	}
}

func TestTheSeedGivesTheOrder(t *testing.T) {
	c := Config{Dataset: "text", Path: folder(t, map[string]string{"a": counting(1000)}), SeqLen: 10, LocalBatch: 20, Ranks: 1, VocabSize: 256}
	order := func(seed uint64) string {
		c.Seed = seed
		return fmt.Sprint(next(t, open(t, c)).Inputs)
	}
	if first := order(1); first != order(1) || first == order(2) {
		t.Error("the order is not a function of the seed")
	}
}

// A run on two ranks goes on where four have stopped.
func TestSeekOnAnotherNumberOfRanks(t *testing.T) {
	c := Config{Dataset: "text", Path: folder(t, map[string]string{"a": counting(5000)}), SeqLen: 7, LocalBatch: 2, Ranks: 4, VocabSize: 256, Seed: 9}
	whole := c
	whole.Ranks, whole.LocalBatch = 1, 8
	reference := open(t, whole)
	next(t, reference)
	want := rows(next(t, reference), 7)

	four := open(t, c)
	next(t, four)
	position := four.Position()
	if position != 8 {
		t.Errorf("position %d after a batch of 8", position)
	}
	var got []string
	c.Ranks, c.LocalBatch = 2, 4
	for c.Rank = range c.Ranks {
		l := open(t, c)
		l.Seek(position)
		got = append(got, rows(next(t, l), 7)...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// 13 bytes make three windows of 5 targets; the last has the two that are left.
func TestPlacesBeyondTheEndAreIgnored(t *testing.T) {
	l := open(t, Config{Dataset: "text", Path: folder(t, map[string]string{"a": "abcdefghijklm"}), SeqLen: 5, LocalBatch: 3, Ranks: 1, VocabSize: 256})
	b := next(t, l)
	if b.Valid != 12 {
		t.Errorf("%d targets, want 12", b.Valid)
	}
	got := rows(b, 5)
	slices.Sort(got)
	want := []string{
		"[102 103 104 105 106] [103 104 105 106 107]",
		"[107 108 109 0 0] [108 109 -100 -100 -100]",
		"[97 98 99 100 101] [98 99 100 101 102]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestGoSourceIsTheInstalledGo(t *testing.T) {
	c := Config{Dataset: "gosource", SeqLen: 64, LocalBatch: 1, Ranks: 1, VocabSize: 256}
	training := open(t, c).source
	c.Section = Validation
	validation := open(t, c).source
	held := make(map[string]bool)
	for _, f := range validation.files {
		held[f.path] = true
	}
	for _, f := range training.files {
		if held[f.path] || !strings.HasSuffix(f.path, ".go") {
			t.Errorf("training reads %s", f.path)
		}
	}
	all := len(training.files) + len(validation.files)
	if share := float64(len(validation.files)) / float64(all); all < 5000 || share < 0.005 || share > 0.015 {
		t.Errorf("%d of %d files are for validation, want about one in a hundred", len(validation.files), all)
	}
	if n := training.Len(); n < 50e6 {
		t.Errorf("%d bytes", n)
	}
	if !slices.IsSortedFunc(training.files, func(a, b file) int { return strings.Compare(a.path, b.path) }) {
		t.Error("files are not sorted")
	}
}

// contents are the bytes of a data set of bytes.
func contents(t *testing.T, c Config) string {
	t.Helper()
	c.VocabSize = 256
	ids := idsOf(t, c)
	text := make([]byte, len(ids))
	for i, id := range ids {
		text[i] = byte(id)
	}
	return string(text)
}

func link(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at); err != nil {
		t.Fatal(err)
	}
}

// Debian's GOROOT/src is a link, and so may be any file or folder.
func TestALinkIsWhatItPointsTo(t *testing.T) {
	dir := folder(t, map[string]string{"src/not.go/inner.go": "inner", "src/z.go": "last", "src/a.txt": "no", "other/x.go": "other"})
	link(t, "z.go", dir+"/src/link.go")
	link(t, dir+"/other", dir+"/src/folder.go")
	link(t, "/nonexistent", dir+"/src/nobody's.txt")
	link(t, "src", dir+"/linked")
	for _, path := range []string{dir + "/src", dir + "/linked"} {
		if got := contents(t, Config{Dataset: "gosource", Path: path}); got != "other"+"last"+"inner"+"last" {
			t.Errorf("%s: read %q", path, got)
		}
	}
	root := t.TempDir()
	link(t, dir+"/src", root+"/src")
	t.Setenv("GOROOT", root)
	if got := contents(t, Config{Dataset: "gosource"}); got != "other"+"last"+"inner"+"last" {
		t.Errorf("GOROOT: read %q", got)
	}
}

func TestALinkThatHasNoEndIsNamed(t *testing.T) {
	dir := folder(t, map[string]string{"a/b/c.txt": "text"})
	link(t, dir+"/a", dir+"/a/b/up")
	want := dir + "/a/b/up links to " + dir + "/a, in which it lies"
	for _, dataset := range []string{"text", "gosource"} {
		_, err := OpenSource(Config{Dataset: dataset, Path: dir, VocabSize: 256})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dataset, err, want)
		}
	}
	link(t, "/nonexistent", dir+"/gone.txt")
	os.Remove(dir + "/a/b/up")
	if _, err := OpenSource(Config{Dataset: "text", Path: dir, VocabSize: 256}); err == nil || !strings.Contains(err.Error(), dir+"/gone.txt") {
		t.Errorf("a link to nothing: %v", err)
	}
}

// What is not text is left out and counted; a zero byte stands between two documents.
func TestTextIsDocuments(t *testing.T) {
	dir := folder(t, map[string]string{
		"a.txt": "first", "b/c.md": "zwei ♥", "d": "", ".git/config": "no", ".hidden": "no", "b/.x/y/z": "no",
		"image.png": "\x89PNG\r\n", "zero": "a\x00b", "cut": "half a heart \xe2\x99",
	})
	if got, want := contents(t, Config{Dataset: "text", Path: dir}), "first\x00zwei ♥"; got != want {
		t.Errorf("read %q, want %q", got, want)
	}
	l := open(t, Config{Dataset: "text", Path: dir, SeqLen: 4, LocalBatch: 1, Ranks: 1, VocabSize: 256})
	if got, want := l.Summary(), "14 tokens in 2 files, left out: 3 hidden, 3 not UTF-8 text"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// A path that the user names is read even if it is hidden.
	if got := contents(t, Config{Dataset: "text", Path: dir + "/.hidden"}) + contents(t, Config{Dataset: "text", Path: dir + "/.git"}); got != "nono" {
		t.Errorf("read %q", got)
	}
	_, err := OpenSource(Config{Dataset: "text", Path: dir + "/zero", VocabSize: 256})
	if want := "no file of UTF-8 text with anything in it, left out: 1 not UTF-8 text"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	// Characters that lie across what is read at once.
	for shift := range 4 {
		dir := folder(t, map[string]string{"long": strings.Repeat("x", shift) + strings.Repeat("𝔵", readBytes)})
		if n := len(contents(t, Config{Dataset: "text", Path: dir})); n != shift+4*readBytes {
			t.Errorf("%d bytes of %d", n, shift+4*readBytes)
		}
	}
}

func TestBadInputIsNamed(t *testing.T) {
	text := Config{Dataset: "text", SeqLen: 8, LocalBatch: 1, Ranks: 1, VocabSize: 256}
	tokens, gosource := text, text
	tokens.Dataset, gosource.Dataset = "tokens", "gosource"
	at := func(c Config, path string) Config { c.Path = path; return c }
	dir := folder(t, map[string]string{
		"short": "12345678", "odd.u16": "123", "odd.u32": "123456", "ids.u16": counting(40), "plain": counting(40),
		"mixed/a.u16": "12", "mixed/b.u32": "1234", "blank/a": "",
	})
	small := at(text, dir+"/plain")
	small.VocabSize = 255
	unknown := text
	unknown.Dataset = "c4"
	validation := at(text, dir+"/none")
	validation.Section = Validation
	for _, tt := range []struct {
		name string
		c    Config
		want string
	}{
		{"missing path", at(text, dir+"/none"), `training.dataset_path = "` + dir + `/none" for dataset text: stat ` + dir + `/none: no such file`},
		{"missing validation path", validation, `validation.dataset_path = "` + dir + `/none"`},
		{"empty folder", at(text, t.TempDir()), "for dataset text: no file of UTF-8 text with anything in it"},
		{"only empty files", at(text, dir+"/blank"), "no file of UTF-8 text with anything in it"},
		{"no Go files", at(gosource, dir), "no .go file with anything in it"},
		{"no tokens", at(tokens, dir+"/plain"), "no .u16 or .u32 file with anything in it"},
		{"shorter than a window", at(text, dir+"/short"), "short holds 8 tokens, too few for one window of training.seq_len = 8 and the token after it"},
		{"odd number of bytes", at(tokens, dir+"/odd.u16"), "odd.u16 has 3 bytes, which are no whole number of 2-byte ids"},
		{"no multiple of four bytes", at(tokens, dir+"/odd.u32"), "odd.u32 has 6 bytes, which are no whole number of 4-byte ids"},
		{"two widths", at(tokens, dir+"/mixed"), "a.u16 and " + dir + "/mixed/b.u32 hold ids of different widths"},
		{"vocabulary of bytes", small, "ids of dataset text are bytes, but model.args.vocab_size is 255: it must be at least 256"},
		{"unknown dataset", unknown, `training.dataset = "c4" is none of gosource, text, jsonl, parquet, tokens`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Open(tt.c); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestWithoutGoTheErrorSaysWhatToSet(t *testing.T) {
	for _, root := range []string{"", "/nonexistent"} {
		t.Setenv("GOROOT", root)
		t.Setenv("PATH", "")
		_, err := Open(Config{Dataset: "gosource", SeqLen: 8, LocalBatch: 1, Ranks: 1, VocabSize: 256})
		if err == nil || !strings.Contains(err.Error(), "install Go, or set training.dataset_path to a folder of .go files") {
			t.Errorf("GOROOT=%q: %v", root, err)
		}
	}
}

func TestAnIDOutsideTheVocabularyIsNamed(t *testing.T) {
	dir := folder(t, map[string]string{"a.u16": "\x01\x00\x02\x00", "b.u16": "\x03\x00\x04\x00\x2c\x01\x05\x00"})
	l := open(t, Config{Dataset: "tokens", Path: dir, SeqLen: 4, LocalBatch: 1, Ranks: 1, VocabSize: 300})
	err := l.Next(l.NewBatch())
	if want := dir + "/b.u16: id 300 at position 2 is outside the vocabulary of 300 (model.args.vocab_size)"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

func TestAFileThatShrinksIsNamed(t *testing.T) {
	dir := folder(t, map[string]string{"a": counting(40)})
	l := open(t, Config{Dataset: "text", Path: dir, SeqLen: 39, LocalBatch: 1, Ranks: 1, VocabSize: 256})
	if err := os.Truncate(dir+"/a", 30); err != nil {
		t.Fatal(err)
	}
	if err := l.Next(l.NewBatch()); err == nil || !strings.Contains(err.Error(), dir+"/a: it had 40 bytes when it was listed, now it ends at 30") {
		t.Error(err)
	}
	if err := os.Remove(dir + "/a"); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := l.Next(l.NewBatch()); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}

func TestNextAllocatesNothing(t *testing.T) {
	l := open(t, Config{Dataset: "tokens", Path: golden, SeqLen: 4, LocalBatch: 4, Ranks: 1, VocabSize: 256})
	b := next(t, l)
	if n := testing.AllocsPerRun(20, func() {
		if err := l.Next(b); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

func BenchmarkOpenGoSource(b *testing.B) {
	for b.Loop() {
		l, err := Open(Config{Dataset: "gosource", SeqLen: 512, LocalBatch: 8, Ranks: 1, VocabSize: 2048})
		if err != nil {
			b.Fatal(err)
		}
		l.Close()
	}
}

func BenchmarkNextGoSource(b *testing.B) {
	l, err := Open(Config{Dataset: "gosource", SeqLen: 512, LocalBatch: 8, Ranks: 1, VocabSize: 2048})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	batch := l.NewBatch()
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Next(batch); err != nil {
			b.Fatal(err)
		}
	}
}
