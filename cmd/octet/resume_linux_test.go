// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"octet/metrics"
)

// TestARunDoesNotGoOnWithOtherData, though it is of one host, whose ranks need not compare
// what they read; the launcher says so before it starts any.
func TestARunDoesNotGoOnWithOtherData(t *testing.T) {
	out := t.TempDir()
	saved := []string{"--checkpoint.enable", "--checkpoint.no_last_save_model_only"}
	if text, code := runOctet(t, smallest(out, saved...)...); code != 0 {
		t.Fatalf("exit code %d\n%s", code, text)
	}
	other := filepath.Join(t.TempDir(), "other.u16")
	if err := os.WriteFile(other, bytes.Repeat([]byte{1, 0, 2, 0}, 5000), 0o666); err != nil {
		t.Fatal(err)
	}
	again := smallest(out, append(saved, "--training.steps=5", "--training.dataset_path="+other)...)
	for _, launcher := range [][]string{nil, {"run", "--nproc-per-node=2"}} {
		text, code := runOctet(t, append(launcher, again...)...)
		if code != 1 || !strings.Contains(text, "was made with other data") || strings.Contains(text, "[default") { // by no rank
			t.Errorf("%q: exit code %d\n%s", launcher, code, text)
		}
	}
}

// TestARunThatSavesNothingSaysNotThatItDid: where checkpoints are only loaded a signal ends it
// as one that has none.
func TestARunThatSavesNothingSaysNotThatItDid(t *testing.T) {
	folder := t.TempDir()
	p := savingJob(t, folder, "--checkpoint.load_only", "--training.steps=1000000")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if info, err := os.Stat(filepath.Join(folder, metrics.FileName)); err == nil && info.Size() > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("after a minute there is no step")
		}
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	code := p.exitCode()
	if said := p.stderr.String() + p.stdout.String(); code != 128+int(syscall.SIGTERM) || strings.Contains(said, "is saved") {
		t.Errorf("code %d\n%s", code, said)
	}
	if found, _ := filepath.Glob(filepath.Join(folder, "checkpoint", "*")); found != nil {
		t.Errorf("saved %q", found)
	}
}

// TestACheckpointKnowsItsTokenizer: what it was trained with reads the text.
func TestACheckpointKnowsItsTokenizer(t *testing.T) {
	out := t.TempDir()
	assets, err := filepath.Abs("../../tokenizer/testdata/gpt2")
	if err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(out, "text.txt")
	if err := os.WriteFile(text, bytes.Repeat([]byte("All ranks read the same text. "), 20), 0o666); err != nil {
		t.Fatal(err)
	}
	ok(t, smallest(out, "--checkpoint.enable", "--model.hf_assets_path="+assets, "--model.args.vocab_size=1024",
		"--training.dataset=text", "--training.dataset_path="+text, "--training.dataset_cache="+filepath.Join(out, "cache"))...)
	line := ok(t, "eval", "--checkpoint="+filepath.Join(out, "checkpoint"), "--text="+text)
	var tokens, size int
	if _, said, _ := strings.Cut(line, "a byte: "); said == "" {
		t.Fatal(line)
	} else if _, err := fmt.Sscanf(said, "%d tokens and %d bytes", &tokens, &size); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if size < 590 || tokens > size/2 {
		t.Errorf("%d tokens of %d bytes, want a tokenizer's", tokens, size)
	}
}
