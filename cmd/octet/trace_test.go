// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const tracedKeys = " -- --model.args.dim=32 --model.args.n_layers=1 --model.args.n_heads=2 --model.args.n_kv_heads=2 --model.args.ffn_hidden_dim=64 --training.seq_len=32 --training.local_batch_size=2" +
	" --training.dataset=text --training.dataset_path=. --training.steps=3"

func TestTraceNamesTheMistake(t *testing.T) {
	for args, want := range map[string]string{
		"--ranks=0":                    "--ranks 0: want 1 or more",
		"--out=/nowhere/x.json":        "--out /nowhere/x.json: there is no folder /nowhere",
		"--training.steps=9":           "unknown flag: --training.steps; keys of octet train, as --config or --training.steps, stand behind --",
		"--rank=2":                     "--rank 2: the ranks are 0 to 1",
		"--rank=-1":                    "--rank -1: the ranks are 0 to 1",
		"--warmup=-1":                  "--warmup -1: want 0 or more",
		"--threads=0":                  "--threads 0: want 1 to 4096",
		"--dry --out=x.json":           "--dry --out: nothing is computed",
		"--dry --schedule":             "--dry --schedule: nothing is computed",
		"--dry --warmup=1":             "--dry --warmup: nothing is computed",
		"--dry --threads=1":            "--dry --threads: nothing is computed",
		"--steps=3":                    "unknown flag: --steps",
		"--warmup=3" + tracedKeys:      "training.steps = 3: 3 steps to warm up and one to trace want 4 at least",
		"--dry -- --model.args.dims=3": "model.args.dims",
		"--dry --ranks=3 -- --parallelism.data_parallel_replicate_degree=2": "data_parallel",
	} {
		if err := traceStep(t.Context(), strings.Fields(args), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("octet trace %s: error %v, want %q", args, err, want)
		}
	}
}

// TestEveryFlagOfTraceActs: in what is printed, and in the file.
func TestEveryFlagOfTraceActs(t *testing.T) {
	traced := func(args string) string {
		t.Helper()
		var out bytes.Buffer
		if err := traceStep(t.Context(), strings.Fields(args+tracedKeys), &out); err != nil {
			t.Fatalf("octet trace %s: %v", args, err)
		}
		return out.String()
	}
	path := filepath.Join(t.TempDir(), "step.json")
	number := regexp.MustCompile(` #\d+`)
	text := traced("--ranks=3 --rank=2 --warmup=1 --threads=2 --schedule --out=" + path)
	if dry := traced("--dry --ranks=3 --rank=2"); number.ReplaceAllString(text, "") != number.ReplaceAllString(dry, "") {
		t.Errorf("rank 2 enqueues\n%s\nand dry\n%s", text, dry)
	}
	if later := traced("--ranks=3 --rank=2 --warmup=2 --schedule --out=" + path); number.FindString(later) == number.FindString(text) {
		t.Errorf("after one step and after two the first collective is%s", number.FindString(text))
	}
	var file struct {
		TraceEvents []struct {
			PID  int
			Args map[string]any
		}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	events := map[int]int{}
	for _, e := range file.TraceEvents {
		events[e.PID]++
	}
	if len(events) != 3 || events[0] != events[1] || events[0] < 100 {
		t.Errorf("events by rank %v", events)
	}
	if quiet := traced("--ranks=1 --warmup=0 -o " + path); strings.Contains(quiet, "total:") {
		t.Errorf("a schedule that nobody asked for\n%s", quiet)
	}
	dry := func(rank, rest string) string { return traced("--dry --ranks=3 --rank=" + rank + rest) }
	if first, last := dry("0", ""), dry("2", ""); !strings.Contains(first, "of 3 ranks") || first == last {
		t.Errorf("rank 0 and rank 2 of three, whose parts are not equal, enqueue\n%s", first)
	}
}
