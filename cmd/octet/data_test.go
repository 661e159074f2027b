// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const dataAssets = "../../tokenizer/testdata/gpt2"

// octetData runs octet data and returns what it prints.
func octetData(t *testing.T, input string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := octetCommand(t, append([]string{"data"}, args...)...)
	var out, err strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &err
	if e := cmd.Run(); e != nil && cmd.ProcessState == nil {
		t.Fatal(e)
	}
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

func writeLines(t *testing.T, name string, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDataEncodesAndDecodes: decode is the way back, of lists and of prepared files.
func TestDataEncodesAndDecodes(t *testing.T) {
	lines := []string{`{"text":"func main() {"}`, `{"text":"zwei <♥>\n"}`, `{"text":"<|endoftext|>"}`}
	path := writeLines(t, "a.jsonl", lines...)
	ids, stderr, code := octetData(t, "", "encode", "--assets", dataAssets, path)
	if list := strings.Split(strings.TrimSpace(ids), "\n"); code != 0 || len(list) != 3 || list[2] != "[900]" {
		t.Fatalf("exit code %d, %q\n%s", code, ids, stderr)
	}
	want := strings.Join(lines, "\n") + "\n"
	if text, stderr, code := octetData(t, ids, "decode", "--assets", dataAssets, "--special"); code != 0 || text != want {
		t.Errorf("exit code %d, %q, want %q\n%s", code, text, want, stderr)
	}
	want = strings.Replace(want, "<|endoftext|>", "", 1)
	if text, _, code := octetData(t, "", "decode", "--assets", dataAssets, writeLines(t, "ids", strings.TrimSpace(ids))); code != 0 || text != want {
		t.Errorf("exit code %d, %q, want %q", code, text, want)
	}
	out := filepath.Join(t.TempDir(), "out")
	said, stderr, code := octetData(t, "", "prepare", "--assets", dataAssets, "--out", out, path)
	if code != 0 || !strings.Contains(said, "tokens in 3 documents") {
		t.Fatalf("exit code %d, %q\n%s", code, said, stderr)
	}
	if text, stderr, code := octetData(t, "", "decode", "--assets", dataAssets, out+"/training/part-000000.u16"); code != 0 || text != want {
		t.Errorf("exit code %d, %q, want %q\n%s", code, text, want, stderr)
	}
	if _, stderr, code := octetData(t, "", "prepare", "--assets", dataAssets, "--out", out, path); code != 1 || !strings.Contains(stderr, out+" is there already") {
		t.Errorf("a second time: exit code %d, %s", code, stderr)
	}
}

// TestPreparedDataTrains as the documents do, but for the order: the same loss of all of it.
func TestPreparedDataTrains(t *testing.T) {
	var lines []string
	for i := range 200 {
		lines = append(lines, fmt.Sprintf(`{"text":"document %d says %x"}`, i, i*i))
	}
	path := writeLines(t, "a.jsonl", lines...)
	out := filepath.Join(t.TempDir(), "out")
	said, stderr, code := octetData(t, "", "prepare", "--out", out, "--validation-fraction", "0.2", path)
	if code != 0 || !strings.Contains(said, filepath.Join(out, "training")+": ") || !strings.Contains(said, filepath.Join(out, "validation")+": ") {
		t.Fatalf("exit code %d, %q\n%s", code, said, stderr)
	}
	dump := t.TempDir()
	cmd := octetCommand(t, append(append([]string{"train"}, tinyFlags(t)...), "--training.dataset=tokens", "--training.dataset_path="+out+"/training",
		"--validation.enable", "--validation.dataset=tokens", "--validation.dataset_path="+out+"/validation", "--validation.seq_len=16", "--validation.local_batch_size=1",
		"--job.dump_folder="+dump)...)
	if text, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(text), "validate step:  1") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestDataSaysWhatIsWrong(t *testing.T) {
	broken := writeLines(t, "a.jsonl", `{"text":"x"}`, `{"body":"y"}`)
	for _, tt := range []struct {
		args, input string
		code        int
		want        string
	}{
		{"encode --assets A " + broken, "", 1, broken + `: line 2: no text: there is no field "text"`},
		{"encode --assets A --skip-broken " + broken, "", 0, "1 broken lines are left out"},
		{"encode --assets A --field body --skip-broken " + broken, "", 0, "1 broken lines are left out"},
		{"encode " + broken, "", 2, "--assets: name the folder of a tokenizer.json"},
		{"encode --assets A", "", 2, "data encode: name a file of JSON lines"},
		{"encode --assets A a.txt", "", 1, "a.txt: its name ends in none of .jsonl"},
		{"encode --assets /nonexistent " + broken, "", 1, "/nonexistent/tokenizer.json"},
		{"encode --asets A", "", 2, "unknown flag: --asets"},
		{"decode --assets A", "[1]\n[1, x]\n", 1, "standard input: line 2: no list of ids"},
		{"decode --assets A", "[901]\n", 1, "standard input: line 1: the tokenizer has no id 901; its ids are below 901"},
		{"decode --assets A /nonexistent", "", 1, "/nonexistent: no such file"},
		{"decode --assets A /nonexistent.u16", "", 1, "/nonexistent.u16: no such file"},
		{"prepare --assets A " + broken, "", 2, "name the folder to make as --out"},
		{"prepare --assets A --out o", "", 2, "and one file or folder of the data set"},
		{"prepare --assets A --out DIR/o " + broken, "", 1, broken + ": line 2"},
		{"prepare --dataset tokens --out DIR/o " + broken, "", 1, "dataset tokens is ids already"},
		{"prepare --dataset c4 --out DIR/o " + broken, "", 1, `= "c4" is none of`},
		{"prepare --dataset text --validation-fraction 0.1 --out DIR/o " + broken, "", 2, "--validation-fraction divides documents"},
		{"prepare --validation-fraction 0.9 --out DIR/o " + broken, "", 2, "--validation-fraction 0.9: want a number"},
		{"recode", "", 2, `unknown command "recode"`},
	} {
		args := strings.Fields(strings.NewReplacer(" A", " "+dataAssets, "DIR", t.TempDir()).Replace(tt.args))
		if _, stderr, code := octetData(t, tt.input, args...); code != tt.code || !strings.Contains(stderr, tt.want) {
			t.Errorf("%s: exit code %d, want %d\n%s\nwant %q", tt.args, code, tt.code, stderr, tt.want)
		}
	}
	for _, args := range []string{"", "--help", "encode --help", "decode --help", "prepare --help"} {
		if stdout, _, code := octetData(t, "", strings.Fields(args)...); code != 0 || !strings.HasPrefix(stdout, "usage: octet data ") {
			t.Errorf("%s: exit code %d, %s", args, code, stdout)
		}
	}
}
