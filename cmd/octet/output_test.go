// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"octet/metrics"
)

// smallest are the arguments of a run that takes milliseconds.
func smallest(out string, more ...string) []string {
	return append(strings.Fields(`train --model.args.dim=32 --model.args.n_layers=1 --model.args.n_heads=2 --model.args.n_kv_heads=2 --model.args.vocab_size=256
		--training.dataset=tokens --training.dataset_path=`+goldenDir+`llama_tokens.u16 --training.seq_len=32 --training.local_batch_size=2 --training.steps=3
		--job.dump_folder=`+out), more...)
}

func stepsOf(t *testing.T, path string) (steps []int) {
	t.Helper()
	records, err := metrics.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		steps = append(steps, r.Step)
	}
	return steps
}

// TestARunKeepsTheOneBefore, under another name, and one that is refused changes
// nothing.
func TestARunKeepsTheOneBefore(t *testing.T) {
	out := t.TempDir()
	save := "--job.save_config_file=config.toml"
	if text, code := runOctet(t, smallest(out, save, "--debug.seed=5")...); code != 0 || !strings.HasSuffix(text, fmt.Sprintf("results: %s/metrics.jsonl, %s/config.toml\n", out, out)) {
		t.Fatalf("exit code %d\n%s", code, text)
	}
	text, code := runOctet(t, smallest(out, save, "--debug.seed=7")...)
	if code != 0 || !strings.Contains(text, "metrics.jsonl of an earlier run is now metrics.1.jsonl") {
		t.Fatalf("exit code %d\n%s", code, text)
	}
	for range 2 {
		if text, code := runOctet(t, smallest(out, "--training.seq_len=1000000")...); code == 0 {
			t.Errorf("not refused:\n%s", text)
		}
	}
	if got := fmt.Sprint(stepsOf(t, out+"/metrics.1.jsonl"), stepsOf(t, out+"/metrics.jsonl")); got != "[1 2 3] [1 2 3]" {
		t.Errorf("steps %s", got)
	}
	for name, seed := range map[string]string{"config.1.toml": "seed = 5", "config.toml": "seed = 7"} {
		if text, err := os.ReadFile(filepath.Join(out, name)); err != nil || !strings.Contains(string(text), seed) {
			t.Errorf("%s: no %s (%v)", name, seed, err)
		}
	}
	if all, err := filepath.Glob(out + "/*"); err != nil || len(all) != 5 { // and the lock
		t.Errorf("files %q", all)
	}
}

// TestARunSaysWhatItHasWritten at its end.
func TestARunSaysWhatItHasWritten(t *testing.T) {
	out := t.TempDir()
	text, code := runOctet(t, smallest(out, "--model.converters=quantize.linear.float8", "--debug.float8_stats")...)
	if want := fmt.Sprintf("results: %s/metrics.jsonl, %s/float8_stats.jsonl\n", out, out); code != 0 || !strings.HasSuffix(text, want) {
		t.Errorf("exit code %d, want %s at the end of\n%s", code, want, text)
	}
}

// TestAttemptsGoOnInOneFolder: the second continues the file of the first, and
// another job is told who holds the folder.
func TestAttemptsGoOnInOneFolder(t *testing.T) {
	out := t.TempDir()
	job := octetProcess(t, append([]string{"run", "--nproc-per-node", "2", "--max-restarts", "1"}, smallest(out, "--training.steps=1000000")...)...)
	start(t, job)
	ranks := waitForRanks(t, job.Process.Pid, out)

	text, code := runOctet(t, append([]string{"run"}, smallest(out)...)...)
	want := fmt.Sprintf("job.dump_folder = %q: process %d on ", out, ranks[0])
	if code == 0 || !strings.Contains(text, want) || strings.Contains(text, "[default0]") {
		t.Errorf("exit code %d, want %s\n%s", code, want, text)
	}
	if text, code := runOctet(t, smallest(out)...); code == 0 || !strings.Contains(text, want) {
		t.Errorf("alone: exit code %d, want %s\n%s", code, want, text)
	}

	if err := syscall.Kill(ranks[1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	firsts := func() (n int) {
		for _, step := range stepsOf(t, out+"/metrics.jsonl") {
			if step == 1 {
				n++
			}
		}
		return n
	}
	for deadline := time.Now().Add(30 * time.Second); firsts() < 2 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	job.Process.Signal(syscall.SIGTERM)
	job.exitCode()
	if all, err := filepath.Glob(out + "/*.jsonl"); err != nil || len(all) != 1 || firsts() != 2 {
		t.Errorf("%d attempts in the files %q\n%s", firsts(), all, job.stderr.String())
	}
}

// limited is octet where no file may have more than a few kilobytes. (A full disk
// needs root to make.)
func limited(t *testing.T, args ...string) (output string, code int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", `ulimit -f 8; exec "$0" "$@"`, self}, args...)...)
	cmd.Env = append(os.Environ(), asOctet+"=1", "TMPDIR="+t.TempDir())
	text, _ := cmd.CombinedOutput()
	return string(text), cmd.ProcessState.ExitCode()
}

// TestAFullDiskIsToldAndTheExitCodeSaysSo for metrics, for the files of ranks'
// output, and for a log that goes to a file.
func TestAFullDiskIsToldAndTheExitCodeSaysSo(t *testing.T) {
	out := t.TempDir()
	text, code := limited(t, smallest(out, "--training.steps=100")...)
	for _, want := range []string{"the steps are kept", "metrics.jsonl: file too large", "steps are not in the file"} {
		if code != 1 || !strings.Contains(text, want) {
			t.Errorf("metrics: exit code %d, no %q in\n%s", code, want, text)
		}
	}
	if n := len(stepsOf(t, out+"/metrics.jsonl")); n < 10 || n > 99 {
		t.Errorf("%d steps are in the file", n)
	}

	text, code = limited(t, "run", "--log-dir", out, "--redirects", "3", "sh", "-c", "yes | head -c 30000; echo end >&2")
	for _, want := range []string{"output of the ranks is lost: " + out, "ended well, but not all of their output was written"} {
		if code != 1 || strings.Count(text, want) != 1 {
			t.Errorf("--log-dir: exit code %d, not one %q in\n%s", code, want, text)
		}
	}

	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	for _, args := range [][]string{smallest(out), {"run", "echo", "hello"}} {
		p := octetProcess(t, args...)
		p.Stderr, p.Stdout = full, full
		start(t, p)
		if code := p.exitCode(); code != 1 {
			t.Errorf("%s: exit code %d where nothing can be written", args[0], code)
		}
	}
}

// TestAnIgnoredSignalStaysIgnored: nohup's, in the launcher and in its ranks.
func TestAnIgnoredSignalStaysIgnored(t *testing.T) {
	// Whoever ran this test may have ignored it already; what is caught here is
	// default again in the processes that start.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	defer signal.Stop(caught)
	for _, tt := range []struct {
		trap, wait string
		code       int
	}{{"trap '' HUP;", "", 0}, {"", "sleep 100;", 129}} {
		p := octetProcess(t)
		p.Cmd.Path, p.Cmd.Args = "/bin/sh", []string{"sh", "-c", tt.trap + ` exec "$0" run --nproc-per-node 2 sh -c 'kill -HUP $$; [ $RANK = 1 ] || kill -HUP $PPID; ` + tt.wait + ` echo alive'`, os.Args[0]}
		start(t, p)
		if code := p.exitCode(); code != tt.code || strings.Count(p.stdout.String(), "alive") == 2 != (code == 0) {
			t.Errorf("%q: exit code %d, want %d\n%s%s", tt.trap, code, tt.code, p.stdout.String(), p.stderr.String())
		}
	}
}
