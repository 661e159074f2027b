// SPDX-License-Identifier: Apache-2.0

package data

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"octet/tokenizer"
)

const assets = "../tokenizer/testdata/llama3"

// jsonl is lines of the given texts.
func jsonl(texts ...string) string {
	var b strings.Builder
	for i, text := range texts {
		fmt.Fprintf(&b, "{\"id\": %d, \"text\": %q}\n", i, text)
	}
	return b.String()
}

// corpusOf is a configuration of lines of JSON with the tokenizer, and a cache of its own.
func corpusOf(t *testing.T, files map[string]string) Config {
	t.Helper()
	return Config{Dataset: "jsonl", Path: folder(t, files), SeqLen: 5, LocalBatch: 1, Ranks: 1, VocabSize: 1024, Assets: assets, Cache: t.TempDir()}
}

func numbered(n int) (texts []string) {
	for i := range n {
		texts = append(texts, fmt.Sprintf("document %d says: %x", i, i*i*7919))
	}
	return texts
}

// idsOf are all ids of the data of c.
func idsOf(t *testing.T, c Config) []int32 {
	t.Helper()
	s, err := OpenSource(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ids := make([]int32, s.Len())
	if err := s.Read(ids, 0); err != nil {
		t.Fatal(err)
	}
	return ids
}

// encoded are the ids of documents, one after the other.
func encoded(t *testing.T, texts ...string) (ids []int32) {
	t.Helper()
	tok, err := tokenizer.Open(assets)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		ids = tok.NewEncoder().AppendDocument(ids, text)
	}
	return ids
}

func TestDocumentsBecomeTheIDsOfTheTokenizer(t *testing.T) {
	texts := []string{"Hello, world", "zwei ♥", "x = 1"}
	want := encoded(t, texts...)
	c := corpusOf(t, map[string]string{"a.jsonl": jsonl(texts[:2]...), "b/c.jsonl": jsonl("", texts[2]), "notes.md": "no"})
	if got := idsOf(t, c); !slices.Equal(got, want) {
		t.Errorf("jsonl: %v, want %v", got, want)
	}
	l := open(t, c)
	if got, want := l.Summary(), fmt.Sprintf("%d tokens in 3 documents, left out: 1 empty texts", len(want)); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if l.Bytes() {
		t.Error("the ids of a tokenizer are bytes")
	}
	text := c
	text.Dataset, text.Path = "text", folder(t, map[string]string{"a": texts[0], "b": texts[1], "c": texts[2], "d": "\xff", ".e": "no"})
	if got := idsOf(t, text); !slices.Equal(got, want) {
		t.Errorf("text: %v, want %v", got, want)
	}
	if got, want := open(t, text).Summary(), fmt.Sprintf("%d tokens in 3 documents, left out: 1 hidden, 1 not UTF-8 text", len(want)); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	code := c
	code.Dataset, code.Path = "gosource", folder(t, map[string]string{"a.go": texts[0], "b.go": texts[1], "c.go": texts[2], "d.txt": "no"})
	if got := idsOf(t, code); !slices.Equal(got, want) {
		t.Errorf("gosource: %v, want %v", got, want)
	}
	rows := c
	rows.Dataset, rows.Path = "parquet", "documents/testdata"
	if got, want := idsOf(t, rows)[:10], encoded(t, "first", "zwei ♥\n", "first")[:10]; !slices.Equal(got, want) {
		t.Errorf("parquet: %v, want %v", got, want)
	}
	// Without a tokenizer a zero byte ends each document.
	bytes := c
	bytes.Assets = ""
	if got, want := fmt.Sprint(idsOf(t, bytes)), fmt.Sprint([]byte(strings.Join(texts, "\x00")+"\x00")); got != want {
		t.Errorf("bytes: %s, want %s", got, want)
	}
	if !open(t, bytes).Bytes() {
		t.Error("ids without a tokenizer are not bytes")
	}
}

// A vocabulary of more than 2 bytes is written in 4.
func TestIDsHaveTheWidthThatTheyNeed(t *testing.T) {
	raw, err := os.ReadFile(assets + "/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	wide := strings.Replace(string(raw), `"vocab":{`, `"vocab":{"unused":70000,`, 1)
	wide = strings.NewReplacer(`"id":900,`, `"id":901,`, `"id":901,`, `"id":902,`, `"id":902,`, `"id":903,`, `"ids":[900]`, `"ids":[901]`).Replace(wide)
	c := corpusOf(t, map[string]string{"a.jsonl": jsonl("Hello, world")})
	c.Assets, c.VocabSize = folder(t, map[string]string{"tokenizer.json": wide}), 70001
	s := source(t, c)
	if s.width != 4 || len(s.files) != 1 || filepath.Ext(s.files[0].path) != ".u32" {
		t.Errorf("ids of %d bytes in %v", s.width, s.files)
	}
	if got, want := idsOf(t, c), encoded(t, "Hello, world"); len(got) != len(want) || got[0] != 901 || !slices.Equal(got[1:], want[1:]) {
		t.Errorf("%v, want %v but for the first", got, want)
	}
}

// The samples of a run do not depend on the ranks: over all layouts no window is missing and none comes twice.
func TestNoWindowIsMissingAndNoneComesTwice(t *testing.T) {
	c := corpusOf(t, map[string]string{"a.jsonl": jsonl(numbered(40)...), "b.jsonl": jsonl(numbered(90)[40:]...)})
	c.Seed, c.SeqLen = 11, 24
	whole := open(t, c)
	windows := int(whole.windows)
	want := map[string]int{}
	for range windows {
		for _, row := range rows(next(t, whole), c.SeqLen) {
			want[row]++
		}
	}
	if len(want) != windows {
		t.Fatalf("%d different windows of %d", len(want), windows)
	}
	for ranks := 1; ranks <= 7; ranks++ {
		for _, batch := range []int{1, 3} {
			at := map[uint64]string{} // by the number of the sample
			for rank := range ranks {
				c.Ranks, c.Rank, c.LocalBatch = ranks, rank, batch
				l := open(t, c)
				for l.Position() < uint64(windows) {
					first := l.Position() + uint64(rank*batch)
					for i, row := range rows(next(t, l), c.SeqLen) {
						if at[first+uint64(i)] != "" {
							t.Fatalf("sample %d comes twice", first+uint64(i))
						}
						at[first+uint64(i)] = row
					}
				}
			}
			got := map[string]int{}
			for i := range uint64(windows) {
				got[at[i]]++
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%d ranks of %d windows: an epoch has other windows than on one rank", ranks, batch)
			}
		}
	}
}

// modified is when each file below a folder was written.
func modified(t *testing.T, dir string) map[string]time.Time {
	t.Helper()
	times := map[string]time.Time{}
	if err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() && filepath.Ext(path) != ".lock" {
			times[path] = info.ModTime()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return times
}

// What was made once is found again, also for a copy elsewhere; what was changed, if only by a byte of equal length, is made anew.
func TestWhatWasMadeIsFoundAgain(t *testing.T) {
	files := map[string]string{"a.jsonl": jsonl("first", "second")}
	c := corpusOf(t, files)
	print := func(c Config) string {
		t.Helper()
		l := open(t, c)
		print, err := l.Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		return print
	}
	first := print(c)
	made := modified(t, filepath.Join(c.Cache, first))
	if len(made) != 3 {
		t.Fatalf("%v in the cache, want ids, index and what they are", made)
	}
	same := c
	same.Path = folder(t, files)
	if print(c) != first || print(same) != first {
		t.Error("equal files have another fingerprint")
	}
	if again := modified(t, filepath.Join(c.Cache, first)); fmt.Sprint(again) != fmt.Sprint(made) {
		t.Errorf("%v, want %v as before", again, made)
	}
	seen := map[string]string{first: "the first"}
	another := c
	another.Assets = "../tokenizer/testdata/gpt2"
	field := c
	field.Field, field.SkipBroken = "id", true
	field.Path = folder(t, map[string]string{"a.jsonl": `{"id": "a text of more than six tokens"}`})
	split := c
	split.Fraction = 1e-9
	path := filepath.Join(c.Path, "a.jsonl")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what string
		c    Config
	}{{"another tokenizer", another}, {"another field", field}, {"a fraction", split}} {
		p := print(tt.c)
		if seen[p] != "" {
			t.Errorf("%s has the fingerprint of %s", tt.what, seen[p])
		}
		seen[p] = tt.what
	}
	if err := os.WriteFile(path, []byte(jsonl("fiRst", "second")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil { // what did not happen
		t.Fatal(err)
	}
	if p := print(c); seen[p] != "" {
		t.Errorf("changed data has the fingerprint of %s", seen[p])
	}
	if got, want := idsOf(t, c), encoded(t, "fiRst", "second"); !slices.Equal(got, want) {
		t.Errorf("changed data is read as %v, want %v", got, want)
	}
}

// Parts that were done before an interruption are not made again, unless they are not as large as they say.
func TestWhatWasInterruptedGoesOn(t *testing.T) {
	files := map[string]string{}
	for i, text := range numbered(10) {
		files[fmt.Sprintf("%d.jsonl", i)] = jsonl(text)
	}
	c := corpusOf(t, files)
	s, err := openCorpus(c)
	if err != nil {
		t.Fatal(err)
	}
	s.cut(1)
	if len(s.parts) != 10 {
		t.Fatalf("%d parts, want one of each file", len(s.parts))
	}
	all := filepath.Join(t.TempDir(), "all")
	nothing := func(int64, int64) {}
	want, err := s.build(all, "print", nothing)
	if err != nil {
		t.Fatal(err)
	}
	// The state after an interruption: parts 0 to 5 are done, of 4 a byte is missing, of 5 the mark. Part 1 has other ids than it should.
	folder := filepath.Join(t.TempDir(), "again")
	work := folder + partial
	if err := s.begin(work, "print"); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		counts, err := s.buildPart(work, i, func(int64) {})
		if err != nil {
			t.Fatal(err)
		}
		if i == 5 {
			break
		}
		if err := writeJSON(filepath.Join(work, partName(i)+".json"), counts); err != nil {
			t.Fatal(err)
		}
	}
	ids := func(folder string, i int) []byte {
		raw, err := os.ReadFile(s.tokensFile(folder, Training, i))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for i, raw := range map[int][]byte{1: make([]byte, len(ids(work, 1))), 4: ids(work, 4)[1:]} {
		if err := os.WriteFile(s.tokensFile(work, Training, i), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.build(folder, "another", nothing); err == nil || !strings.Contains(err.Error(), work+" was begun with other documents, or another tokenizer: remove it") {
		t.Errorf("other documents: error %v", err)
	}
	got, err := s.build(folder, "print", nothing)
	if err != nil || got != want {
		t.Fatalf("%+v, %v, want %+v", got, err, want)
	}
	for i := range s.parts {
		same := slices.Equal(ids(folder, i), ids(all, i))
		if same != (i != 1) {
			t.Errorf("part %d is as it was made at once: %v", i, same)
		}
	}
	left, err := os.ReadDir(folder)
	if err != nil || len(left) != 2 {
		t.Errorf("%v are left, want the ids and %s (%v)", left, preparedName, err)
	}
}

func TestTheIndexSaysWhereDocumentsBegin(t *testing.T) {
	texts := numbered(20)
	c := corpusOf(t, map[string]string{"a.jsonl": jsonl(texts...)})
	s := source(t, c)
	starts, err := ReadIndex(s.files[0].path)
	if err != nil || len(starts) != 20 {
		t.Fatalf("%v, %v", starts, err)
	}
	for i, text := range texts {
		ids := encoded(t, text)
		got := make([]int32, len(ids))
		if err := s.Read(got, starts[i]); err != nil || !slices.Equal(got, ids) {
			t.Errorf("document %d is %v, want %v (%v)", i, got, ids, err)
		}
	}
	// What is no index of its file is named.
	path := filepath.Join(t.TempDir(), "a.u16")
	index := func(starts ...uint64) (raw []byte) {
		for _, n := range starts {
			raw = binary.LittleEndian.AppendUint64(raw, n)
		}
		return raw
	}
	for _, tt := range []struct {
		raw  []byte
		want string
	}{
		{index(0, 2, 4), ""},
		{nil, ""},
		{index(0)[1:], "has 7 bytes, which are no whole number of 8-byte starts"},
		{index(1), "document 0 begins at 1"},
		{index(0, 3, 2), "document 2 begins at 2"},
		{index(0, 6), "document 1 begins at 6"},
		{index(0, 1<<63), "document 1 begins at"},
	} {
		if err := os.WriteFile(path, make([]byte, 10), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(indexOf(path), tt.raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadIndex(path); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), indexOf(path)+": "+tt.want) && !strings.Contains(err.Error(), indexOf(path)+" "+tt.want) {
			t.Errorf("%v: error %v, want %q", tt.raw, err, tt.want)
		}
	}
}

// A fraction of the documents is kept for validation: each is on one side, and copies are on the same.
func TestAFractionIsKeptForValidation(t *testing.T) {
	texts := numbered(400)
	c := corpusOf(t, map[string]string{"a.jsonl": jsonl(texts...), "b.jsonl": jsonl(texts[:100]...)})
	c.Fraction = 0.1
	tok, err := tokenizer.Open(assets)
	if err != nil {
		t.Fatal(err)
	}
	sides := map[Section]map[string]int{}
	for _, side := range []Section{Training, Validation} {
		c.Section = side
		sides[side] = map[string]int{}
		bos, _ := tok.BOS()
		ids := idsOf(t, c)
		for start := 0; start < len(ids); {
			end := start + 1
			for end < len(ids) && ids[end] != bos {
				end++
			}
			sides[side][tok.Decode(ids[start+1:end])]++
			start = end
		}
	}
	for i, text := range texts {
		want := 1
		if i < 100 {
			want = 2
		}
		a, b := sides[Training][text], sides[Validation][text]
		if a+b != want || a > 0 && b > 0 {
			t.Errorf("%q is %d times for training and %d times for validation", text, a, b)
		}
	}
	if n := len(sides[Validation]); n < 20 || n > 60 {
		t.Errorf("%d of 400 documents are for validation, want about 40", n)
	}
	// Of text it is files, by their names, with a tokenizer and without.
	files := map[string]string{}
	for i, text := range texts {
		files[fmt.Sprint(i)] = text
	}
	c = Config{Dataset: "text", Path: folder(t, files), VocabSize: 1024, Fraction: 0.1, Cache: t.TempDir()}
	for _, c.Assets = range []string{"", assets} {
		count := map[Section]int{}
		for _, c.Section = range []Section{Training, Validation} {
			list, err := c.list()
			if err != nil {
				t.Fatal(err)
			}
			count[c.Section] = len(list.files)
			if s := source(t, c); c.Assets != "" && s.made.documents != int64(len(list.files)) {
				t.Errorf("%d documents of %d files", s.made.documents, len(list.files))
			}
		}
		if count[Training]+count[Validation] != 400 || count[Validation] < 20 || count[Validation] > 60 {
			t.Errorf("%v files, want 400, about 40 of them for validation", count)
		}
	}
	c.Path, c.Section, c.Fraction = filepath.Join(c.Path, "7"), Validation, 1e-9
	if _, err := OpenSource(c); err == nil || !strings.Contains(err.Error(), "no file of UTF-8 text for validation (validation.fraction = 1e-09 goes by the names of files)") {
		t.Errorf("one file: error %v", err)
	}
}

func TestBadDocumentsAreNamed(t *testing.T) {
	good := corpusOf(t, map[string]string{"a.jsonl": jsonl("a text of more than six tokens, which is enough")})
	with := func(change func(c *Config)) Config { c := good; change(&c); return c }
	path := folder(t, map[string]string{"a.jsonl": jsonl("x") + "{\"body\": 1}\n", "short/a.jsonl": jsonl("x"), "empty/a.jsonl": jsonl("", ""), "other/a.txt": "x"})
	for _, tt := range []struct {
		name  string
		c     Config
		early bool // Check finds it
		want  string
	}{
		{"good", good, true, ""},
		{"no files", with(func(c *Config) { c.Path = path + "/other" }), true, `training.dataset_path = "` + path + `/other" for dataset jsonl: no .jsonl, .jsonl.gz or .jsonl.zst file with anything in it`},
		{"no folder", with(func(c *Config) { c.Path = path + "/none" }), true, "no such file"},
		{"no tokenizer", with(func(c *Config) { c.Assets = path }), true, `model.hf_assets_path = "` + path + `": tokenizer: open ` + path + `/tokenizer.json: no such file`},
		{"small vocabulary", with(func(c *Config) { c.VocabSize = 902 }), true, `the tokenizer of model.hf_assets_path = "` + assets + `" has 903 ids, but model.args.vocab_size is 902: it must be at least 903`},
		{"small vocabulary of bytes", with(func(c *Config) { c.VocabSize, c.Assets = 255, "" }), true, "the ids of dataset jsonl without model.hf_assets_path are bytes, but model.args.vocab_size is 255"},
		{"no field", with(func(c *Config) { c.Dataset, c.Path, c.Field = "parquet", "documents/testdata", "body" }), true, `rows.parquet: there is no field "body"; the fields are meta, text, score`},
		{"broken line", with(func(c *Config) { c.Path = path + "/a.jsonl" }), false, `a.jsonl: line 2: no text: there is no field "text"`},
		{"too short", with(func(c *Config) { c.Path = path + "/short" }), false, "too few for one window of training.seq_len = 5"},
		{"nothing in it", with(func(c *Config) { c.Path = path + "/empty" }), false, "no document for training, left out: 2 empty texts"},
		{"cache that is a file", with(func(c *Config) { c.Cache = path + "/a.jsonl" }), false, "training.dataset_cache = "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wrong := func(err error) bool {
				return (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want)
			}
			if err := Check(tt.c); tt.early && wrong(err) || !tt.early && err != nil {
				t.Errorf("Check: %v, want %q", err, tt.want)
			}
			if err := Prepare(tt.c, nil); wrong(err) {
				t.Errorf("Prepare: %v, want %q", err, tt.want)
			}
		})
	}
	skipped := with(func(c *Config) { c.Path, c.SkipBroken, c.SeqLen = path+"/a.jsonl", true, 1 })
	if got := open(t, skipped).Summary(); !strings.HasSuffix(got, "tokens in 1 documents, left out: 1 broken lines") {
		t.Errorf("skipped: %q", got)
	}
}

func TestACacheThatWasChangedIsNamed(t *testing.T) {
	c := corpusOf(t, map[string]string{"a.jsonl": jsonl("a text of more than six tokens, which is enough")})
	s := source(t, c)
	if err := os.Truncate(s.files[0].path, s.files[0].size-2); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSource(c); err == nil || !strings.Contains(err.Error(), "when it was made: remove it") {
		t.Errorf("a part that is cut: error %v", err)
	}
	// Gone, it is made again.
	if err := os.RemoveAll(filepath.Dir(filepath.Dir(s.files[0].path))); err != nil {
		t.Fatal(err)
	}
	if got := source(t, c); got.Len() != s.Len() {
		t.Errorf("%d tokens, want %d", got.Len(), s.Len())
	}
}

// Of many that open the data at once one makes it into ids.
func TestOneOfManyPrepares(t *testing.T) {
	c := corpusOf(t, map[string]string{"a.jsonl": jsonl(numbered(50)...)})
	var mu sync.Mutex
	worked := 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			did := false
			if err := Prepare(c, func(what string, done, all int64) {
				if what == "tokenised" && done == all {
					mu.Lock()
					defer mu.Unlock()
					did = true
				}
			}); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if did {
				worked++
			}
		})
	}
	wg.Wait()
	if worked != 1 {
		t.Errorf("%d have prepared the data, want one", worked)
	}
}

// Whoever waits for a process that goes on telling waits for longer than its silence may be.
func TestAProcessThatGoesOnIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a.lock")
		begun := make(chan struct{})
		go func() {
			if err := locked(path, time.Hour, func(tell func(string)) error {
				close(begun)
				for i := range 20 {
					time.Sleep(2 * time.Second)
					tell(fmt.Sprint(i, " of 20"))
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		}()
		<-begun
		start := time.Now()
		err := locked(path, 5*time.Second, func(func(string)) error { return nil })
		if waited := time.Since(start); err != nil || waited < 40*time.Second {
			t.Errorf("%v after %v, want the lock after 40s", err, waited)
		}
	})
}

// What was made of files that were written to meanwhile is not remembered as theirs.
func TestFilesThatChangeMeanwhileAreNamed(t *testing.T) {
	c := corpusOf(t, map[string]string{"a.jsonl": jsonl(numbered(50)...)})
	changed := false
	err := Prepare(c, func(what string, _, _ int64) {
		if what == "tokenised" && !changed {
			changed = true
			if err := os.WriteFile(filepath.Join(c.Path, "a.jsonl"), []byte(jsonl(numbered(60)...)), 0o600); err != nil {
				t.Error(err)
			}
		}
	})
	if !changed || err == nil || !strings.Contains(err.Error(), "files were changed while they were read; try again") {
		t.Fatalf("changed: %v, error %v", changed, err)
	}
	if got, want := idsOf(t, c), encoded(t, numbered(60)...); !slices.Equal(got, want) {
		t.Errorf("%d ids after it was tried again, want the %d of the new files", len(got), len(want))
	}
}

func TestAProcessThatIsSilentIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lock")
	err := locked(path, time.Hour, func(func(string)) error {
		return locked(path, 50*time.Millisecond, func(func(string)) error { return nil })
	})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("it holds %s and last said \"process %d on ", path, os.Getpid())) {
		t.Errorf("error %v, want one that names the process", err)
	}
}

// FuzzIndex: what is read of any index are rising starts within the ids.
func FuzzIndex(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0}, uint16(5))
	f.Fuzz(func(t *testing.T, raw []byte, ids uint16) {
		path := filepath.Join(t.TempDir(), "a.u16")
		if err := os.WriteFile(path, make([]byte, 2*int(ids)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(indexOf(path), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		starts, err := ReadIndex(path)
		if err != nil {
			return
		}
		for i, at := range starts {
			if at < 0 || at > int64(ids) || i > 0 && at < starts[i-1] {
				t.Errorf("document %d begins at %d of %d", i, at, ids)
			}
		}
	})
}
