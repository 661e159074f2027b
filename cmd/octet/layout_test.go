// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLayoutsInTheDocsAreThoseOfPlans: docs/parallelism.md has the commands that draw its pictures.
func TestLayoutsInTheDocsAreThoseOfPlans(t *testing.T) {
	docs, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(docs, "docs/parallelism.md"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(docs) // keys may name files
	drawn := 0
	for line := range strings.Lines(string(text)) {
		args, ok := strings.CutPrefix(strings.TrimSpace(line), "octet trace --layout ")
		if !ok {
			continue
		}
		drawn++
		path, rest, _ := strings.Cut(args, " ")
		picture := filepath.Join(t.TempDir(), filepath.Base(path))
		if err := traceStep(t.Context(), strings.Fields("--layout "+picture+" "+rest), &bytes.Buffer{}); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		want, err := os.ReadFile(picture)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the command draws (%v): run it again:%s", path, err, line)
		}
		if name := filepath.Base(path); !strings.Contains(string(text), "]("+name+")") {
			t.Errorf("docs/parallelism.md does not show %s", name)
		}
	}
	if drawn != 4 {
		t.Errorf("%d pictures, want FSDP, HSDP, tensor parallelism, and that with FSDP", drawn)
	}
}

func TestALayoutNamesTheMistake(t *testing.T) {
	for args, want := range map[string]string{
		"--layout=":                             "--layout : a picture is SVG or PNG",
		"--layout=/nowhere/x.svg":               "--layout /nowhere/x.svg: there is no folder /nowhere",
		"--layout=x.jpg":                        "--layout x.jpg: a picture is SVG or PNG",
		"--layout=x.svg --dry":                  "--layout --dry: a layout is a picture of all ranks",
		"--layout=x.svg --rank=1":               "--layout --rank: a layout",
		"--layout=x.svg -- --model.args.dims=3": "model.args.dims",
		"--layout=x.svg --ranks=3 -- --parallelism.tensor_parallel_degree=2":                                  "tensor_parallel_degree",
		"--layout=x.svg -- --model.args.n_layers=2":                                                           "model.args.n_layers = 2: a block that has one before it and one behind needs 3",
		"--layout=nosuchfolder/x.svg -- --model.args.dim=32 --model.args.n_heads=2 --model.args.n_kv_heads=2": "nosuchfolder",
	} {
		if err := traceStep(t.Context(), strings.Fields(args), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("octet trace %s: error %v, want %q", args, err, want)
		}
	}
}
