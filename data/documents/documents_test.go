// SPDX-License-Identifier: Apache-2.0

package documents

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
)

func write(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// all are the texts of a file, read by sections.
func all(path string, o Options) (texts []string, left Left, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, left, err
	}
	sections, err := Sections(path, info.Size(), o)
	if err != nil {
		return nil, left, err
	}
	for _, s := range sections {
		l, err := s.Read(o, func(text string) error { texts = append(texts, text); return nil })
		left.Broken += l.Broken
		left.Empty += l.Empty
		if err != nil {
			return texts, left, err
		}
	}
	return texts, left, nil
}

func gzipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstandard(t testing.TB, text string) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll([]byte(text), nil)
}

const lines = `{"text": "first", "url": 1}
{"url": "", "text": "zwei \u2665\n"}

  {"text": ""}  ` + "\r" + `
{"text": "the last has no end"}`

var texts = []string{"first", "zwei ♥\n", "the last has no end"}

func TestLinesPlainAndCompressed(t *testing.T) {
	for name, content := range map[string][]byte{
		"a.jsonl": []byte(lines), "a.jsonl.gz": gzipped(t, lines), "a.jsonl.zst": zstandard(t, lines),
		"twice.jsonl.gz": append(gzipped(t, lines[:40]), gzipped(t, lines[40:])...),
	} {
		got, left, err := all(write(t, name, content), Options{Format: JSONL, Field: "text"})
		if err != nil || !slices.Equal(got, texts) || left != (Left{Empty: 1}) {
			t.Errorf("%s: %q, left %+v, error %v", name, got, left, err)
		}
	}
}

// Wherever a file is cut into sections, each line is read once.
func TestSectionsHaveEachLineOnce(t *testing.T) {
	content := "{\"text\":\"a\"}\n\n{\"text\":\"bcd\"}\n{\"text\":\"e\"}"
	path := write(t, "a.jsonl", []byte(content))
	o := Options{Format: JSONL, Field: "text"}
	n := int64(len(content))
	for i := range n + 1 {
		for j := i; j <= n; j++ {
			var got []string
			for _, s := range []Section{{Path: path, Bytes: i}, {Path: path, offset: i, Bytes: j - i}, {Path: path, offset: j, Bytes: n - j}} {
				if _, err := s.Read(o, func(text string) error { got = append(got, text); return nil }); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(got, []string{"a", "bcd", "e"}) {
				t.Fatalf("cut at %d and %d: %q", i, j, got)
			}
		}
	}
	if err := os.Truncate(path, 3*SectionBytes+5); err != nil {
		t.Fatal(err)
	}
	sections, err := Sections(path, 3*SectionBytes+5, o)
	if err != nil || len(sections) != 4 || sections[3] != (Section{Path: path, offset: 3 * SectionBytes, Bytes: 5}) {
		t.Errorf("%v, %v", sections, err)
	}
}

func TestABrokenLineIsNamedOrSkipped(t *testing.T) {
	for line, want := range map[string]string{
		`{"text": "cut`:   "no JSON object: unexpected end of JSON input",
		`["text"]`:        "no JSON object",
		`{"Text": "x"}`:   `no text: there is no field "text"`,
		`{"text": 5}`:     `no text: the field "text" is no string`,
		`{"text": null}`:  `no text: the field "text" is no string`,
		`{"text": "a"} x`: "no JSON object: invalid character 'x' after top-level value",
		"null":            `no text: there is no field "text"`,
		"\x00":            "no JSON object",
	} {
		content := strings.Repeat("{\"text\": \"x\"}\n", 3) + line + "\n{\"text\": \"y\"}\n"
		for name, raw := range map[string][]byte{"a.jsonl": []byte(content), "a.jsonl.gz": gzipped(t, content)} {
			path := write(t, name, raw)
			o := Options{Format: JSONL, Field: "text"}
			if _, _, err := all(path, o); err == nil || !strings.Contains(err.Error(), path+": line 4: "+want) {
				t.Errorf("%s in %s: error %v, want line 4: %s", line, name, err, want)
			}
			o.SkipBroken = true
			if got, left, err := all(path, o); err != nil || len(got) != 4 || left.Broken != 1 {
				t.Errorf("%s in %s, skipped: %q, left %+v, error %v", line, name, got, left, err)
			}
		}
		// In a section that begins later the number is that of the file too.
		path := write(t, "a.jsonl", []byte(content))
		s := Section{Path: path, offset: 20, Bytes: int64(len(content)) - 20}
		if _, err := s.Read(Options{Format: JSONL, Field: "text"}, func(string) error { return nil }); err == nil || !strings.Contains(err.Error(), "line 4: ") {
			t.Errorf("%s, from byte 20 on: %v", line, err)
		}
	}
}

func TestDamagedCompressionIsNamed(t *testing.T) {
	gz, zst := gzipped(t, lines), zstandard(t, lines)
	for name, raw := range map[string][]byte{
		"cut.jsonl.gz": gz[:len(gz)-9], "sum.jsonl.gz": append(slices.Clone(gz[:len(gz)-8]), make([]byte, 8)...), "none.jsonl.gz": []byte("plain text"),
		"cut.jsonl.zst": zst[:len(zst)-6], "none.jsonl.zst": []byte("plain text"),
	} {
		path := write(t, name, raw)
		if _, _, err := all(path, Options{Format: JSONL, Field: "text", SkipBroken: true}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want one with the file", name, err)
		}
	}
}

func TestTheErrorOfTheUserComesBackAsItIs(t *testing.T) {
	stop := errors.New("enough")
	for name, path := range map[string]string{"jsonl": write(t, "a.jsonl", []byte(lines)), "parquet": "testdata/rows.parquet", "text": write(t, "a", []byte("x"))} {
		o := Options{Format: Format(name), Field: "text"}
		sections, err := Sections(path, 100, o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sections[0].Read(o, func(string) error { return stop }); !errors.Is(err, stop) || strings.Contains(err.Error(), "a.jsonl") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestAFileIsAText(t *testing.T) {
	for content, want := range map[string]Left{"text ♥": {}, "": {Empty: 1}, "\xff": {Broken: 1}, "a\x00b": {Broken: 1}} {
		got, left, err := all(write(t, "a", []byte(content)), Options{Format: Text})
		if err != nil || left != want || (len(got) == 1) != (want == Left{}) || len(got) == 1 && got[0] != content {
			t.Errorf("%q: %q, left %+v, error %v", content, got, left, err)
		}
	}
}

// testdata/rows.parquet is of pyarrow (testdata/rows.py): zstd, a dictionary, a column of structs before, nulls, two row groups.
func TestParquetOfPyarrow(t *testing.T) {
	got, left, err := all("testdata/rows.parquet", Options{Format: Parquet, Field: "text"})
	want := []string{"first", "zwei ♥\n", "first", "third"}
	for i := range 600 {
		want = append(want, fmt.Sprintf("row %d", i))
	}
	if err != nil || !slices.Equal(got, want) || left.Empty != 2 {
		t.Errorf("%d texts (%.5q …), left %+v, error %v", len(got), got, left, err)
	}
	sections, err := Sections("testdata/rows.parquet", 0, Options{Format: Parquet, Field: "text"})
	if err != nil || len(sections) != 2 {
		t.Errorf("%d sections, error %v, want one for each row group", len(sections), err)
	}
}

type row struct {
	ID   int64
	Tags []string `parquet:"tags,list"`
	Body string   `parquet:"body,snappy"`
}

func TestParquetWithoutTheFieldSaysWhichThereAre(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.parquet")
	if err := parquet.WriteFile(path, []row{{1, nil, "x"}}); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"text": `there is no field "text"; the fields are ID, tags, body`,
		"ID":   `the field "ID" is no string`,
		"tags": `the field "tags" is no string`,
	} {
		if _, _, err := all(path, Options{Format: Parquet, Field: field}); err == nil || !strings.Contains(err.Error(), path+": "+want) {
			t.Errorf("%s: error %v, want %q", field, err, want)
		}
	}
	if got, _, err := all(path, Options{Format: Parquet, Field: "body"}); err != nil || !slices.Equal(got, []string{"x"}) {
		t.Errorf("%q, %v", got, err)
	}
	for name, raw := range map[string]string{"empty": "", "text": "no parquet at all", "magic": "PAR1PAR1"} {
		path := write(t, name+".parquet", []byte(raw))
		if _, _, err := all(path, Options{Format: Parquet, Field: "text"}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestKeeps(t *testing.T) {
	for name, want := range map[string]string{"a.jsonl": "jsonl", "d/a.jsonl.gz": "jsonl", "a.jsonl.zst": "jsonl", "a.json": "", "a.parquet": "parquet", "a.gz": ""} {
		got := ""
		for _, f := range []Format{JSONL, Parquet} {
			if f.Keeps(name) {
				got += string(f)
			}
		}
		if got != want || !Text.Keeps(name) {
			t.Errorf("%s is read as %q, want %q", name, got, want)
		}
	}
}

// FuzzLines: no file of lines makes the reader panic, and cutting it changes nothing.
func FuzzLines(f *testing.F) {
	f.Add([]byte(lines), 10)
	f.Add([]byte("\n\n{\"text\":\"\\ud800\"}\n{"), 3)
	f.Fuzz(func(t *testing.T, raw []byte, cut int) {
		path := write(t, "a.jsonl", raw)
		o := Options{Format: JSONL, Field: "text", SkipBroken: true}
		whole, left, err := all(path, o)
		if err != nil {
			t.Fatal(err)
		}
		at := int64(0)
		if len(raw) > 0 {
			at = int64(uint(cut) % uint(len(raw)))
		}
		var got []string
		for _, s := range []Section{{Path: path, Bytes: at}, {Path: path, offset: at, Bytes: int64(len(raw)) - at}} {
			l, err := s.Read(o, func(text string) error { got = append(got, text); return nil })
			if err != nil {
				t.Fatal(err)
			}
			left.Broken -= l.Broken
			left.Empty -= l.Empty
		}
		if !slices.Equal(got, whole) || left != (Left{}) {
			t.Errorf("cut at %d: %q, want %q; left %+v", at, got, whole, left)
		}
	})
}
