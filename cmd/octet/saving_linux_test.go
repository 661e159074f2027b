// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"octet/checkpoint"
	"octet/metrics"
)

// savingJob is a run of ten steps on two ranks in float8, that saves whole states.
func savingJob(t *testing.T, folder string, more ...string) *process {
	args := append([]string{"run", "--nproc-per-node=2", "--max-restarts=0", "train"}, tinyFlags(t)...)
	args = append(args, "--training.steps=10", "--job.dump_folder="+folder, "--checkpoint.enable", "--checkpoint.no_last_save_model_only",
		"--model.converters=quantize.linear.float8", "--quantize.linear.float8.enable_fsdp_float8_all_gather", "--quantize.linear.float8.precompute_float8_dynamic_scale_for_fsdp")
	p := octetProcess(t, append(args, more...)...)
	p.Env = append(p.Env, "OMP_NUM_THREADS=1")
	return p
}

// ending is what a run has come to: every line of its metrics but for times, and the sums of all that its last checkpoint has.
type ending struct {
	curve []string
	state map[string]checkpoint.CRC
}

func endingOf(t *testing.T, folder string) ending {
	t.Helper()
	records, err := metrics.Read(filepath.Join(folder, metrics.FileName))
	if err != nil {
		t.Fatal(err)
	}
	o := ending{state: map[string]checkpoint.CRC{}}
	for _, r := range records {
		o.curve = append(o.curve, fmt.Sprint(r.Step, r.Loss, r.GradNorm, r.LR, r.TokensSeen))
	}
	c, err := checkpoint.Open(filepath.Join(folder, "checkpoint", "step-10"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, x := range c.Index.Tensors {
		for _, part := range x.Parts {
			o.state[fmt.Sprint(name, part.Box)] = part.CRC32C
		}
	}
	return o
}

// undisturbed is what a run comes to that nobody stops, and how long it takes.
func undisturbed(t *testing.T, more ...string) (ending, time.Duration) {
	t.Helper()
	folder, start := t.TempDir(), time.Now()
	savingJob(t, folder, more...).succeeds(t)
	return endingOf(t, folder), time.Since(start)
}

// succeeds runs the process to its end.
func (p *process) succeeds(t *testing.T) {
	t.Helper()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if code := p.exitCode(); code != 0 {
		t.Fatalf("code %d\n%s", code, p.stderr.String())
	}
}

// is fails unless what the folder's run has come to is this one, to the last bit.
func (o ending) is(t *testing.T, folder, after string) {
	t.Helper()
	got := endingOf(t, folder)
	if !slices.Equal(got.curve, o.curve) {
		t.Fatalf("after %s:\n%s\nundisturbed:\n%s", after, strings.Join(got.curve, "\n"), strings.Join(o.curve, "\n"))
	}
	if !maps.Equal(got.state, o.state) || len(o.state) < 20 {
		t.Fatalf("after %s the last checkpoint has other values than that of the undisturbed run", after)
	}
}

// rankPIDs are those of the ranks that the process has now.
func (p *process) rankPIDs(t *testing.T) (pids []int) {
	t.Helper()
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range environs {
		env, err := os.ReadFile(path)
		if err == nil && bytes.Contains(env, []byte("TMPDIR="+p.tmp()+"\x00")) && bytes.Contains(env, []byte("\x00LOCAL_RANK=")) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// TestKilledTrainingGoesOn: a run whose ranks, or whose launcher, are killed at any moment, in the middle of saves too, comes to the
// curve and the state of an undisturbed one, to the last bit; the newest whole checkpoint is what it goes on from, and what a save left
// that did not end is named.
func TestKilledTrainingGoesOn(t *testing.T) {
	for _, mode := range []string{"async", "disabled"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			want, took := undisturbed(t, "--checkpoint.interval=1", "--checkpoint.keep_latest_k=0", "--checkpoint.async_mode="+mode)
			random := rand.New(rand.NewPCG(5, uint64(len(mode))))
			kills, most := 0, often(12, 100)
			for kills < most {
				folder := t.TempDir()
				kills += killUntilDone(t, folder, mode, random, took, most-kills)
				want.is(t, folder, "kills")
			}
			t.Logf("%d kills", kills)
		})
	}
}

// killUntilDone runs a job until it is done, and kills it at most so many times.
func killUntilDone(t *testing.T, folder, mode string, random *rand.Rand, took time.Duration, most int) (kills int) {
	saves := filepath.Join(folder, "checkpoint")
	for {
		torn, err := filepath.Glob(filepath.Join(saves, "step-*.tmp-*"))
		if err != nil {
			t.Fatal(err)
		}
		newest := 0
		if whole, err := checkpoint.Whole(saves); err == nil && len(whole) > 0 {
			newest = whole[len(whole)-1].Step
		}
		p := savingJob(t, folder, "--checkpoint.interval=1", "--checkpoint.keep_latest_k=3", "--checkpoint.async_mode="+mode)
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		killed := false
		if kills < most {
			if random.IntN(2) == 0 { // in a save
				for start := time.Now(); time.Since(start) < took; time.Sleep(time.Millisecond) {
					if now, _ := filepath.Glob(filepath.Join(saves, "step-*.tmp-*")); len(now) > 0 && !slices.Equal(now, torn) {
						break
					}
				}
				time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
			} else {
				time.Sleep(time.Duration(random.Int64N(int64(took))))
			}
			victims := append(p.rankPIDs(t), p.Process.Pid)
			killed = syscall.Kill(victims[random.IntN(len(victims))], syscall.SIGKILL) == nil
		}
		code := p.exitCode()
		p.nothingLeftRunning(t)
		said := p.stderr.String() + p.stdout.String()
		if strings.Contains(said, "going on from") {
			for _, dir := range torn {
				if !strings.Contains(said, "checkpoint: "+dir+" has no index: its save did not end, and it is left out") {
					t.Fatalf("%s is not named:\n%s", dir, said)
				}
			}
			if want := fmt.Sprintf("going on from %s, after step %d ", filepath.Join(saves, checkpoint.StepName(newest)), newest); !strings.Contains(said, want) {
				t.Fatalf("want %q in\n%s", want, said)
			}
		}
		if code == 0 {
			return kills
		}
		if !killed {
			t.Fatalf("code %d, and nobody killed it\n%s", code, said)
		}
		kills++
	}
}

// nothingLeftRunning waits until no process is left.
func (p *process) nothingLeftRunning(t *testing.T) {
	t.Helper()
	for start := time.Now(); len(p.rankPIDs(t)) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("left: %v", p.rankPIDs(t))
		}
	}
}

// TestASignalSavesAndTheNextRunGoesOn, at whatever moment: the launcher exits with the signal's code, its ranks have saved the last step
// that they did, and the next run ends as an undisturbed one.
func TestASignalSavesAndTheNextRunGoesOn(t *testing.T) {
	want, took := undisturbed(t, "--checkpoint.interval=500")
	for i := range often(3, 20) {
		random := rand.New(rand.NewPCG(6, uint64(i)))
		folder := t.TempDir()
		signal := []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP}[i%3]
		p := savingJob(t, folder, "--checkpoint.interval=500")
		p.Args = slices.Insert(p.Args, 2, "--shutdown-timeout=1")
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		for start := time.Now(); time.Since(start) < took; time.Sleep(time.Millisecond) { // until a step is done
			if info, err := os.Stat(filepath.Join(folder, metrics.FileName)); err == nil && info.Size() > 0 {
				break
			}
		}
		time.Sleep(time.Duration(random.Int64N(int64(took/4) + 1)))
		if err := p.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		code := p.exitCode()
		said := p.stderr.String() + p.stdout.String()
		if code == 0 { // it was done
			continue
		}
		// It may come after the last step, when the launcher sees its ranks end.
		_, err := os.Stat(filepath.Join(folder, "checkpoint", "step-10"))
		if code != 128+int(signal) || err != nil && !strings.Contains(said, "stopped by a signal after step ") {
			t.Fatalf("%v: code %d, the last step's checkpoint: %v\n%s", signal, code, err, said)
		}
		savingJob(t, folder, "--checkpoint.interval=500").succeeds(t)
		want.is(t, folder, "a signal")
	}
}

// mounted mounts a small file system in memory at a new folder, until the test ends.
func mounted(t *testing.T, folder, options string, flags uintptr) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount("tmpfs", folder, "tmpfs", flags, options)
	if errors.Is(err, unix.EPERM) {
		t.Skip("only root can mount a file system")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestAFullFolderStopsNoRun: the save that has no room is told, the one before stays and is whole; where the last one has no room the run ends
// with an error, because nothing comes after that.
func TestAFullFolderStopsNoRun(t *testing.T) {
	for _, mode := range []string{"async", "disabled"} {
		folder := t.TempDir()
		saves := filepath.Join(folder, "checkpoint")
		mounted(t, saves, "size=800k", 0) // one state has half a megabyte
		p := savingJob(t, folder, "--checkpoint.interval=4", "--checkpoint.async_mode="+mode, "--checkpoint.last_save_model_only=true", "--checkpoint.export_dtype=bfloat16")
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		code := p.exitCode()
		said := p.stderr.String() + p.stdout.String()
		if code != 0 || !strings.Contains(said, "checkpoint: step 8 was not saved: rank ") || !strings.Contains(said, "no space left on device; the checkpoints before it are as they were") {
			t.Errorf("%s: code %d\n%s", mode, code, said)
		}
		for step, want := range map[int]bool{4: true, 8: false, 10: true} {
			err := verified(filepath.Join(saves, checkpoint.StepName(step)))
			if (err == nil) != want {
				t.Errorf("%s: step %d: %v\n%s", mode, step, err, said)
			}
		}
		if code, _, said := run(t, append([]string{"train"}, append(tinyFlags(t), "--training.steps=12", "--checkpoint.enable", "--checkpoint.load_step=4", "--checkpoint.no_last_save_model_only",
			"--model.converters=quantize.linear.float8", "--job.dump_folder="+folder, "--quantize.linear.float8.enable_fsdp_float8_all_gather")...)...); code != 1 || !strings.Contains(said, "checkpoint: step 12 was not saved: ") {
			t.Errorf("%s: the last step had no room: code %d\n%s", mode, code, said)
		}
	}
}

// verified reads every byte of a checkpoint.
func verified(dir string) error {
	c, err := checkpoint.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(c.Verify(func(int) {}), c.Close())
}

// TestAFolderThatCannotBeWrittenToIsRefused before the first step.
func TestAFolderThatCannotBeWrittenToIsRefused(t *testing.T) {
	folder := t.TempDir()
	mounted(t, filepath.Join(folder, "checkpoint"), "size=1m", unix.MS_RDONLY)
	p := savingJob(t, folder)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	code := p.exitCode()
	said := p.stderr.String() + p.stdout.String()
	if code != 1 || !strings.Contains(said, "checkpoint.folder: rank 0: open "+folder) || !strings.Contains(said, "read-only file system") || strings.Contains(said, "step:  1") {
		t.Errorf("code %d\n%s", code, said)
	}
}
