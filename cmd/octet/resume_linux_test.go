// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
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
