// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"octet/backend"
	"octet/comm"
	"octet/metrics"
)

const goldenDir = "../../testdata/golden/"

// golden is the path of a golden file, from any folder.
func golden(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(goldenDir + name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// goldenRun is the golden command line of two ranks with out as dump folder, and
// more flags on top.
func goldenRun(out string, more ...string) []string {
	args := strings.Fields(`run --nproc-per-node 2 train --model.flavor=debugmodel --model.args.dim=64 --model.args.n_layers=2 --model.args.n_heads=4
		--model.args.n_kv_heads=2 --model.args.ffn_hidden_dim=192 --model.args.vocab_size=256 --model.args.use_scaled_rope=false
		--training.dataset=tokens --training.dataset_path=` + goldenDir + `llama_tokens.u16 --training.local_batch_size=4 --training.seq_len=64
		--optimizer.lr=3e-3 --lr_scheduler.warmup_steps=0 --lr_scheduler.min_lr_factor=1
		--checkpoint.initial_load_path=` + goldenDir + `llama_init.safetensors --job.dump_folder=` + out)
	return append(args, more...)
}

// TestGoldenRunsOnTwoProcesses types the golden commands and compares with
// PyTorch's FSDP2 on two ranks. The bounds are those by which package train's tests
// tell arithmetics apart.
func TestGoldenRunsOnTwoProcesses(t *testing.T) {
	type bound struct{ first, rest float64 } // relative
	for _, tt := range []struct {
		golden     string
		more       string
		loss, norm bound
	}{
		{"llama_fsdp2_f32", "--training.mixed_precision_param=float32", bound{5e-7, 5e-7}, bound{5e-7, 1.3e-6}},
		{"llama_fsdp2_bf16", "", bound{8e-6, 3e-4}, bound{1.3e-4, 4e-3}},
		{"llama_fsdp2_tensorwise_gather", `--training.mixed_precision_param=float32 --model.converters=quantize.linear.float8
			--quantize.linear.float8.filter_fqns=output --quantize.linear.float8.emulate
			--quantize.linear.float8.enable_fsdp_float8_all_gather --quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp`, bound{1e-6, 1e-3}, bound{2.9e-4, 0.1}},
	} {
		t.Run(tt.golden, func(t *testing.T) {
			out := t.TempDir()
			if text, code := runOctet(t, goldenRun(out, append(strings.Fields(tt.more), "--training.steps=20")...)...); code != 0 {
				t.Fatalf("exit code %d\n%s", code, text)
			}
			records, err := metrics.Read(filepath.Join(out, metrics.FileName))
			if err != nil {
				t.Fatal(err)
			}
			var want struct {
				Loss     []float64
				GradNorm []float64 `json:"grad_norm"`
			}
			text, err := os.ReadFile(goldenDir + tt.golden + ".json")
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			if len(records) != len(want.Loss) {
				t.Fatalf("%d steps, want %d", len(records), len(want.Loss))
			}
			for i, r := range records {
				for _, c := range []struct {
					what      string
					got, want float64
					bound     bound
				}{{"loss", r.Loss, want.Loss[i], tt.loss}, {"gradient norm", r.GradNorm, want.GradNorm[i], tt.norm}} {
					most := c.bound.rest
					if i == 0 {
						most = c.bound.first
					}
					if d := math.Abs(c.got-c.want) / c.want; !(d <= most) {
						t.Errorf("step %d: %s %v, PyTorch has %v: off by %.2g, more than %.2g", r.Step, c.what, c.got, c.want, d, most)
					}
				}
			}
		})
	}
}

// TestBadInputIsRefusedBeforeARankStarts checks the text that a user sees. No
// rank may have said anything: ranks' lines have a prefix.
func TestBadInputIsRefusedBeforeARankStarts(t *testing.T) {
	dir := t.TempDir()
	cut := filepath.Join(dir, "cut.safetensors")
	whole, err := os.ReadFile(goldenDir + "llama_init.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cut, whole[:len(whole)-1000], 0o666); err != nil {
		t.Fatal(err)
	}
	badID, locked := filepath.Join(dir, "bad.u16"), filepath.Join(dir, "locked")
	ids := make([]byte, 2*100_000)
	ids[2*90_000+1] = 8 // 2048
	if err := errors.Join(os.WriteFile(badID, ids, 0o666), os.Mkdir(locked, 0o777), os.Symlink("nowhere", filepath.Join(locked, "a.txt"))); err != nil {
		t.Fatal(err)
	}
	short := strings.Fields("run --nproc-per-node 2 train --training.seq_len=64 --training.steps=1")
	with := func(more string) []string { return append(append([]string(nil), short...), strings.Fields(more)...) }
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"unknown key", with("--training.step=3"), []string{"training.step", "training.steps"}},
		{"wrong type", with("--optimizer.lr=fast"), []string{"optimizer.lr", "fast"}},
		{"degree that does not divide", with("--parallelism.data_parallel_shard_degree=3"), []string{"data_parallel_shard_degree", "3", "2"}},
		{"missing dataset", with("--training.dataset=text --training.dataset_path=" + dir + "/none"), []string{"training.dataset_path", "none"}},
		{"bad id far behind", with("--training.dataset=tokens --training.dataset_path=" + badID), []string{"bad.u16: id 2048 at position 90000", "model.args.vocab_size"}},
		{"file that is not there", with("--training.dataset=text --training.dataset_path=" + locked), []string{"training.dataset_path", "locked/a.txt"}},
		{"truncated weights", with("--checkpoint.initial_load_path=" + cut), []string{"cut.safetensors"}},
		{"size that float8 cannot take", with("--model.converters=quantize.linear.float8 --model.args.ffn_hidden_dim=100"),
			[]string{"layers.0.feed_forward.w1", "100", "16", "filter_fqns"}},
		{"no ranks", strings.Fields("run --nproc-per-node 0 train"), []string{"nproc-per-node"}},
		{"no file", strings.Fields("run train --config " + dir + "/none.toml"), []string{"none.toml"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, code := runOctet(t, tt.args...)
			if code == 0 {
				t.Errorf("exit code 0")
			}
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("the message lacks %q:\n%s", want, text)
				}
			}
			if strings.Contains(text, "[default") {
				t.Errorf("a rank has started:\n%s", text)
			}
		})
	}
}

// TestWorldSizeThatDoesNotMatch starts a rank by hand with a world that its
// configuration does not fit.
func TestWorldSizeThatDoesNotMatch(t *testing.T) {
	cmd := octetCommand(t, "train", "--parallelism.data_parallel_shard_degree=4", "--training.steps=1")
	cmd.Env = append(cmd.Env, "RANK=0", "WORLD_SIZE=2", "LOCAL_RANK=0", "LOCAL_WORLD_SIZE=2", "MASTER_ADDR=localhost", "MASTER_PORT=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "data_parallel_shard_degree") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestARankThatIsKilledOrStopsAnswering runs two ranks, waits until they train,
// hits one, and wants the job to end with that rank named and nothing left.
func TestARankThatIsKilledOrStopsAnswering(t *testing.T) {
	for _, tt := range []struct {
		name   string
		signal syscall.Signal
		code   int
		want   string // in the report
	}{
		{"SIGKILL", syscall.SIGKILL, 137, `rank 1 .*SIGKILL`},
		{"SIGSTOP", syscall.SIGSTOP, 147, `rank 1 .*SIGSTOP`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := t.TempDir()
			args := strings.Fields(`run --nproc-per-node 2 train --model.args.dim=64 --model.args.n_layers=2 --model.args.n_heads=4 --model.args.n_kv_heads=4 --model.args.vocab_size=256
				--training.seq_len=64 --training.local_batch_size=2 --training.steps=1000000 --comm.train_timeout_seconds=2 --job.dump_folder=` + out)
			cmd := octetCommand(t, args...)
			var text bytes.Buffer
			cmd.Stdout, cmd.Stderr = &text, &text
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ranks := waitForRanks(t, cmd.Process.Pid, out)
			if err := syscall.Kill(ranks[1], tt.signal); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				_ = cmd.Process.Kill()
				t.Fatalf("the job is still running:\n%s", &text)
			}
			if code := cmd.ProcessState.ExitCode(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if !regexp.MustCompile(tt.want).MatchString(text.String()) {
				t.Errorf("the report lacks %s:\n%s", tt.want, &text)
			}
			lines := strings.Split(strings.TrimSpace(text.String()), "\n")
			if last := lines[len(lines)-1]; !strings.Contains(last, "first to fail: rank") {
				t.Errorf("the last line does not name the first rank to fail: %s", last)
			}
			for _, pid := range ranks {
				if err := syscall.Kill(pid, 0); err == nil {
					t.Errorf("process %d is left", pid)
				}
			}
		})
	}
}

// waitForRanks returns the process of each rank once the job has trained a step.
func waitForRanks(t *testing.T, launcher int, out string) map[int]int {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		if records, err := metrics.Read(filepath.Join(out, metrics.FileName)); err == nil && len(records) > 1 {
			return ranksOf(t, launcher)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("no step in half a minute")
	return nil
}

// ranksOf finds the ranks below a process, by their environment.
func ranksOf(t *testing.T, launcher int) map[int]int {
	t.Helper()
	ranks := map[int]int{}
	dirs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range dirs {
		env, err := os.ReadFile(path)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || parentOf(pid) != launcher {
			continue
		}
		for _, v := range strings.Split(string(env), "\x00") {
			if rank, ok := strings.CutPrefix(v, "RANK="); ok {
				n, _ := strconv.Atoi(rank)
				ranks[n] = pid
			}
		}
	}
	if len(ranks) != 2 {
		t.Fatalf("found the ranks %v, want two", ranks)
	}
	return ranks
}

func parentOf(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may hold spaces; the parent is the second field after it.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	parent, _ := strconv.Atoi(fields[1])
	return parent
}

// TestTrainAloneIsOneRank runs without a launcher.
func TestTrainAloneIsOneRank(t *testing.T) {
	out := t.TempDir()
	args := strings.Fields(`train --model.args.dim=32 --model.args.n_layers=1 --model.args.n_heads=2 --model.args.n_kv_heads=2 --model.args.vocab_size=256 --training.seq_len=32
		--training.local_batch_size=2 --training.steps=3 --job.dump_folder=` + out)
	if text, code := runOctet(t, args...); code != 0 {
		t.Fatalf("exit code %d\n%s", code, text)
	}
	records, err := metrics.Read(filepath.Join(out, metrics.FileName))
	if err != nil || len(records) != 3 {
		t.Errorf("%d records, %v", len(records), err)
	}
}

// TestARankAloneReadsItsDataFirst, where no launcher has: a wrong id that training would come to much later.
func TestARankAloneReadsItsDataFirst(t *testing.T) {
	ids := make([]byte, 2*100_000)
	ids[2*90_000+1] = 1 // 256
	path := filepath.Join(t.TempDir(), "bad.u16")
	if err := os.WriteFile(path, ids, 0o666); err != nil {
		t.Fatal(err)
	}
	text, code := runOctet(t, smallest(t.TempDir(), "--training.dataset_path="+path)...)
	if code != 1 || !strings.Contains(text, "bad.u16: id 256 at position 90000") || strings.Contains(text, "step:") {
		t.Errorf("exit code %d, want the id named before the first step:\n%s", code, text)
	}
}

// TestARankIsTheVictimOfOthers alone, not of what it has done itself.
func TestARankIsTheVictimOfOthers(t *testing.T) {
	cause := errors.New("out of memory")
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{cause, false},
		{&comm.AbortError{Rank: 1, Err: cause}, false},
		{fmt.Errorf("step 3: %w", &comm.AbortError{Rank: 0, Err: cause}), true},
		{&comm.PeerError{Ranks: []int{0}}, true},
	} {
		var v interface{ Victim() bool }
		if got := errors.As(blame(tt.err, 1), &v) && v.Victim(); got != tt.want {
			t.Errorf("%v on rank 1: a victim is %v, want %v", tt.err, got, tt.want)
		}
	}
	if blame(nil, 1) != nil {
		t.Error("a rank that has not failed is a victim")
	}
}

// octetCommand is this test binary as octet; see TestMain.
func octetCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), asOctet+"=1")
	return cmd
}

func runOctet(t *testing.T, args ...string) (output string, code int) {
	t.Helper()
	cmd := octetCommand(t, args...)
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// TestTheDevicesWarningIsToldOnce, by the first of the ranks, and not where there is none.
func TestTheDevicesWarningIsToldOnce(t *testing.T) {
	dev, err := backend.OpenDevice(backend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	warning := dev.Warning
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
	for isa, want := range map[string]string{"portable": "the portable Go kernels run", os.Getenv("OCTET_CPU_ISA"): warning} {
		cmd := octetCommand(t, append([]string{"run", "--nproc-per-node=2"}, smallest(t.TempDir(), "--lr_scheduler.warmup_steps=1")...)...)
		cmd.Env = append(cmd.Env, "OCTET_CPU_ISA="+isa)
		text, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		lines := 0
		if want != "" {
			lines = 1
		}
		if n := strings.Count(string(text), " WARN "); n != lines || !strings.Contains(string(text), want) {
			t.Errorf("OCTET_CPU_ISA=%s: %d warnings, want %d with %q:\n%s", isa, n, lines, want, text)
		}
	}
}
