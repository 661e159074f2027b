// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckpointsCanBeLookedAt: ls, show, verify and diff say what is there, what is wrong, and what differs.
func TestCheckpointsCanBeLookedAt(t *testing.T) {
	folder := t.TempDir()
	if code, _, stderr := run(t, append(append([]string{"train"}, tinyFlags(t)...), "--job.dump_folder="+folder, "--checkpoint.enable", "--checkpoint.interval=2")...); code != 0 {
		t.Fatal(stderr)
	}
	saves := filepath.Join(folder, "checkpoint")
	if err := os.Mkdir(filepath.Join(saves, "step-6.tmp-x"), 0o777); err != nil {
		t.Fatal(err)
	}
	two, four := filepath.Join(saves, "step-2"), filepath.Join(saves, "step-4")
	for _, tt := range []struct {
		args []string
		code int
		want []string // of stdout, or where the code is not 0 of stderr too
	}{
		{[]string{"ls", saves}, 0, []string{"step  of       tokens  size ", "2     a run    64      ", "4     weights  128     ", "6     torn     -       "}},
		{[]string{"show", two}, 0, []string{"step 2, 64 tokens, seed 0", `model {"Dim":32,"Layers":1`, "sample 4 of windows of 16 tokens, 10241 tokens with the fingerprint ",
			"on ranks fsdp=1, ", "rank-00000.safetensors  ", "optim.steps ", "layers.0.attention.wq.weight ", "F32   [32 32]   4.0 KiB   1"}},
		{[]string{"show", "--config", two}, 0, []string{"[checkpoint]\nenable = true\n"}},
		{[]string{"verify", two, four}, 0, []string{two + ": step 2, ", four + ": step 4, ", "every byte is as it was written"}},
		{[]string{"diff", two, two}, 0, []string{"0 of "}},
		{[]string{"diff", two, four}, 1, []string{"optim.steps: only the first has it", "norm.weight: 32 values differ, by "}},
		{[]string{"show", saves}, 0, []string{"step 4, "}},
		{[]string{"verify", saves}, 0, []string{two + ": step 2, ", four + ": step 4, "}},
		{[]string{"verify", filepath.Join(two, "..", "..")}, 1, []string{"has no index.json: it is not a checkpoint, or one whose save did not end"}},
		{[]string{"ls", filepath.Join(saves, "none")}, 1, []string{"no such file or directory"}},
		{[]string{"show"}, 2, []string{"octet: checkpoint show: want CHECKPOINT, not []"}},
		{[]string{"diff", two}, 2, []string{"octet: checkpoint diff: want ONE OTHER, not [\"" + two + "\"]"}},
		{[]string{"ls", "--help"}, 0, []string{"usage: octet checkpoint ls FOLDER: the checkpoints in a folder"}},
		{[]string{"diff", saves, four}, 0, []string{"0 of "}},
		{[]string{"look"}, 2, []string{`checkpoint: ["look"]: want one of`, "octet checkpoint verify CHECKPOINT…"}},
		{[]string{"--help"}, 0, []string{"octet checkpoint diff ONE OTHER"}},
	} {
		code, stdout, stderr := run(t, append([]string{"checkpoint"}, tt.args...)...)
		if tt.code != 0 {
			stdout += stderr
		}
		for _, want := range tt.want {
			if code != tt.code || !strings.Contains(stdout, want) {
				t.Errorf("%q: code %d, want %d with %q:\n%s%s", tt.args, code, tt.code, want, stdout, stderr)
			}
		}
	}
	if code, _, stderr := run(t, "checkpoint", "ls", two); code != 0 || !strings.Contains(stderr, two+" has no checkpoints") {
		t.Errorf("code %d: %s", code, stderr)
	}
	f, err := os.OpenFile(filepath.Join(two, "rank-00000.safetensors"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{1, 2, 3}, 100_000); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := run(t, "checkpoint", "verify", two); code != 1 || !strings.Contains(stderr, "a byte was changed") || !strings.Contains(stderr, "has the SHA-256 ") {
		t.Errorf("code %d: %s", code, stderr)
	}
}
