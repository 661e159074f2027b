// SPDX-License-Identifier: Apache-2.0

package tokenizers

import (
	"bufio"
	"encoding/binary"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"octet/tokenizer"
)

// python is the Python that has the Rust library.
func python(t *testing.T) string {
	t.Helper()
	path := os.Getenv("OCTET_TOKENIZERS_PYTHON")
	if path == "" {
		t.Skip("OCTET_TOKENIZERS_PYTHON is not set (make test-tokenizers)")
	}
	return path
}

// peer runs a script of testdata and returns what it prints.
func peer(t *testing.T, script string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), python(t), append([]string{filepath.Join("testdata", script)}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v", script, args[0], err)
	}
	return string(out)
}

// trained makes a tokenizer of each kind, of so many tokens, and returns their folders.
func trained(t *testing.T, size int) []string {
	t.Helper()
	dir := t.TempDir()
	files := append([]string{"train", "../../tokenizer/testdata/make.py", strconv.Itoa(size), dir}, goFiles(t, "net", "go")...)
	peer(t, "peer.py", files...)
	folders, err := filepath.Glob(dir + "/*")
	if err != nil || len(folders) < 9 {
		t.Fatalf("%d tokenizers: %v", len(folders), err)
	}
	return folders
}

// real makes the tokenizers of models that are in use, from packages that are fetched once, and returns their folders.
func real(t *testing.T) []string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	folders := strings.Fields(peer(t, "vocabularies.py", filepath.Join(cache, "octet", "vocabularies"), t.TempDir()))
	if len(folders) == 1 {
		t.Log("no npm here: of the real vocabularies only Qwen's is compared")
	}
	return folders
}

// goroot is the folder of the Go that is installed.
func goroot(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// goFiles are the .go files below folders of Go's source.
func goFiles(t *testing.T, below ...string) (files []string) {
	t.Helper()
	for _, dir := range below {
		if err := filepath.WalkDir(filepath.Join(goroot(t), "src", dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && strings.HasSuffix(path, ".go") {
				files = append(files, path)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// everything is all text of the Go that is installed: every file that is UTF-8.
func everything(t *testing.T) (texts []string) {
	t.Helper()
	if err := filepath.WalkDir(goroot(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err == nil && utf8.Valid(raw) && !slices.Contains(raw, 0) {
			texts = append(texts, string(raw))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return texts
}

// random are strings of Unicode: of any characters, of those of one block, and of what tokenizers look for.
func random(n int) (texts []string) {
	r := rand.New(rand.NewPCG(1, 2))
	pieces := []string{" ", "  ", "\n", "\r\n", "\t", "'s", "'LL", "'ſ", "123", "word", "func", "<s>", "</s>", "<mask>", "<|endoftext|>", "<|im_start|>", "▁", "\u0301", "\u0323", "\u00a0", "\u3000", "Å"}
	for range n {
		var b strings.Builder
		block := r.Int32N(unicode.MaxRune) &^ 0xff
		for range r.IntN(40) {
			c := r.Int32N(unicode.MaxRune + 1)
			switch r.IntN(6) {
			case 0, 1:
				b.WriteString(pieces[r.IntN(len(pieces))])
				continue
			case 2:
				c = block + r.Int32N(0x100)
			case 3:
				c = r.Int32N(0x3000)
			case 4:
				c = r.Int32N(0x80)
			}
			if utf8.ValidRune(c) {
				b.WriteRune(c)
			}
		}
		texts = append(texts, b.String())
	}
	return texts
}

// write puts texts into a file, for peer.py.
func write(t *testing.T, texts []string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "texts")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for _, text := range texts {
		w.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(text))))
		w.WriteString(text)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	return path
}

// TestBesideTheRustLibrary: the same ids, and the same text of them.
func TestBesideTheRustLibrary(t *testing.T) {
	texts := append(random(10000), everything(t)...)
	source, bytes := write(t, texts), 0
	for _, text := range texts {
		bytes += len(text)
	}
	for _, dir := range append(trained(t, 8000), real(t)...) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			tok, err := tokenizer.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "ids")
			peer(t, "peer.py", "encode", filepath.Join(dir, tokenizer.FileName), source, out)
			f, err := os.Open(out)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			in, all, wrong := bufio.NewReaderSize(f, 1<<20), 0, 0
			for i, text := range texts {
				want := make([]int32, number(t, in))
				if err := binary.Read(in, binary.LittleEndian, want); err != nil {
					t.Fatal(err)
				}
				decoded := make([]byte, number(t, in))
				if _, err := io.ReadFull(in, decoded); err != nil {
					t.Fatal(err)
				}
				all += len(want)
				got := tok.Encode(text)
				if !slices.Equal(got, want) {
					t.Errorf("text %d, %.200q: the ids differ", i, text)
					wrong++
				}
				if text := tok.Decode(want); text != string(decoded) {
					t.Errorf("text %d, %.200q: decoded to another text", i, text)
					wrong++
				}
				if wrong > 5 {
					t.FailNow()
				}
			}
			t.Logf("%d ids of %d texts, %.1f MB, are equal, and so is the text of them", all, len(texts), float64(bytes)/1e6)
		})
	}
}

func number(t *testing.T, in io.Reader) uint32 {
	t.Helper()
	var n uint32
	if err := binary.Read(in, binary.LittleEndian, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSpeedBesideTheRustLibrary prints how fast both encode Go's source on one core, in turns; it judges nothing.
func TestSpeedBesideTheRustLibrary(t *testing.T) {
	var texts []string
	bytes := 0
	for _, path := range goFiles(t, "runtime") {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(raw))
		bytes += len(raw)
	}
	source := write(t, texts)
	for _, dir := range trained(t, 8000) {
		tok, err := tokenizer.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		theirs, ours := time.Hour, time.Hour
		for range 2 {
			for line := range strings.Lines(peer(t, "peer.py", "time", filepath.Join(dir, tokenizer.FileName), source, "2")) {
				seconds, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
				if err != nil {
					t.Fatal(err)
				}
				theirs = min(theirs, time.Duration(seconds*1e9))
			}
			e, ids := tok.NewEncoder(), []int32(nil)
			for range 2 {
				start := time.Now()
				for _, text := range texts {
					ids = e.Append(ids[:0], text)
				}
				ours = min(ours, time.Since(start))
			}
		}
		t.Logf("%-17s octet %6.1f MB/s, tokenizers %5.1f MB/s: %.1f times as fast", filepath.Base(dir), float64(bytes)/1e6/ours.Seconds(), float64(bytes)/1e6/theirs.Seconds(), theirs.Seconds()/ours.Seconds())
	}
}
