// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package nccl_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"octet/comm"
	"octet/comm/commtest"
	"octet/comm/local"
	"octet/device"
	"octet/dtype"
	"octet/nccl"
)

// each runs f on two ranks with a fault, in a group called "fsdp" with a short
// deadline, and returns their errors. What nobody lets go of ends the process.
func each(t *testing.T, fault string, o nccl.Options, f func(e *commtest.Env) error) []error {
	t.Helper()
	t.Setenv("SIM_FAULT", fault)
	defer time.AfterFunc(time.Minute, func() { panic("nccl: ranks have not ended a minute after a fault: " + fault) }).Stop()
	ranks := open(t, 2, o)
	return commtest.Suite{Promises: promises}.Together(ranks, func(e *commtest.Env) error {
		e.Comm.(comm.Control).SetName("fsdp")
		e.Barrier(e.Stream)
		if err := e.Stream.Sync(); err != nil {
			return err
		}
		e.Comm.(comm.Control).SetTimeout(500 * time.Millisecond)
		return f(e)
	})
}

// reduce sums a tensor of both ranks, and compares.
func reduce(e *commtest.Env) error {
	const n = 1000
	all := []commtest.Values{commtest.Draw(dtype.Float32, n, 0, 1), commtest.Draw(dtype.Float32, n, 1, 1)}
	x := e.Put(all[e.Rank()])
	e.AllReduce(e.Stream, comm.T(x), comm.Sum)
	end := e.Stream.Record() // early, if the collective is not in the stream yet
	got, err := e.Get(x)
	if err != nil {
		return err
	}
	if err := end.Sync(); err != nil {
		return err
	}
	if !slices.Equal(got.Bytes, commtest.Reduce(all, comm.Sum).Bytes) {
		return errors.New("the sum is another one")
	}
	return nil
}

// TestWhatIsInProgressIsWaitedFor: events are recorded behind a collective that NCCL
// enqueues late.
func TestWhatIsInProgressIsWaitedFor(t *testing.T) {
	for _, fault := range []string{"*@0:inprogress=4", "*@1:inprogress=2,*@0:inprogress=3"} {
		for r, err := range each(t, fault, nccl.Options{}, func(e *commtest.Env) error {
			for range 5 {
				if err := reduce(e); err != nil {
					return err
				}
			}
			return nil
		}) {
			if err != nil {
				t.Errorf("%s: rank %d: %v", fault, r, err)
			}
		}
	}
}

// TestACollectiveThatHangsIsNamed, with the ranks that do not end it; an abort lets go
// of the streams, in one group for all communicators and without an error of its own,
// and the last calls are written down.
func TestACollectiveThatHangsIsNamed(t *testing.T) {
	dump := t.TempDir()
	fatal := func(cause error) { t.Errorf("the abort failed: %v", cause) }
	for r, err := range each(t, "all-reduce#2@1:hang", nccl.Options{Dump: dump, Fatal: fatal}, func(e *commtest.Env) error { // the barrier is the first
		return errors.Join(reduce(e), reduce(e)) // what one rank lets go of may end on the other
	}) {
		if err == nil || !strings.Contains(err.Error(), `all-reduce #2 of group "fsdp" (4000 bytes): ranks 0, 1 have stopped within the call after 500ms; arrived: 0, 1`) {
			t.Errorf("rank %d: %v", r, err)
		}
	}
	files, _ := filepath.Glob(filepath.Join(dump, "nccl.rank*.txt"))
	if len(files) == 0 {
		t.Fatal("no recorder was written")
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`barrier #1 of group "fsdp" (0 bytes): barrier`, "finished\n",
		`all-reduce #2 of group "fsdp" (4000 bytes): all-reduce sum of float32[1000]`, "started\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s has no %q:\n%s", files[0], want, text)
		}
	}
}

// TestADeadlineBeginsWithTheCall and not when it is enqueued: the work before it takes
// what it takes.
func TestADeadlineBeginsWithTheCall(t *testing.T) {
	for r, err := range each(t, "", nccl.Options{}, func(e *commtest.Env) error {
		release := e.Hold(e.Stream)
		time.AfterFunc(1200*time.Millisecond, release) // a timeout is 500
		return reduce(e)
	}) {
		if err != nil {
			t.Errorf("rank %d: %v", r, err)
		}
	}
}

// TestALostPeerIsAnError of the group it was in, and ends the job.
func TestALostPeerIsAnError(t *testing.T) {
	for r, err := range each(t, "all-reduce#2@0:lost", nccl.Options{}, reduce) {
		if err == nil || !strings.Contains(err.Error(), `of group "fsdp" (4000 bytes): NCCL: ncclCommGetAsyncError: remote process exited or there was a network error (6)`) {
			t.Errorf("rank %d: %v", r, err)
		}
	}
}

// TestCallsThatDifferAreToldAtTheDeadline, with both calls.
func TestCallsThatDifferAreToldAtTheDeadline(t *testing.T) {
	errs := each(t, "", nccl.Options{}, func(e *commtest.Env) error {
		n := 8
		if e.Rank() == 0 {
			n = 3_000_000 // several messages of the simulated NCCL, where the other rank has one
		}
		e.AllReduce(e.Stream, comm.T(e.New(dtype.Float32, n)), comm.Sum)
		e.Barrier(e.Stream)
		return e.Stream.Sync()
	})
	const want = "ranks make different calls: rank 0 calls all-reduce sum of float32[3000000] (12000000 bytes); rank 1 calls all-reduce sum of float32[8] (32 bytes)"
	if err := errs[0]; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("rank 0: %v, want %q", err, want)
	}
}

// TestARankThatCannotConnectEndsTheOthers, which would wait for it.
func TestARankThatCannotConnectEndsTheOthers(t *testing.T) {
	t.Setenv("SIM_FAULT", "init@1:initfail")
	errs := make([]error, 2)
	devices := []device.Device{gpu(t, 0), gpu(t, 1)}
	var wg sync.WaitGroup
	for r, control := range local.Control(2, local.Options{Timeout: time.Minute}) {
		wg.Go(func() {
			_, errs[r] = nccl.Connect(devices[r], control, nccl.Options{})
		})
	}
	wg.Wait()
	const want = "NCCL: ncclCommInitRankConfig: unhandled system error (run with NCCL_DEBUG=INFO for details) (2): Call to connect failed: Connection refused (SIM_FAULT)"
	for r, err := range errs {
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("nccl: rank %d of 2: ", r)) || !strings.Contains(err.Error(), want) {
			t.Errorf("rank %d: %v", r, err)
		}
	}
	if left, _ := filepath.Glob(fmt.Sprintf("/dev/shm/octet-sim-nccl-%d-*", os.Getpid())); len(left) > 0 {
		t.Errorf("the simulated NCCL was not let go of: there is %v", left)
	}
}

// TestAnAbortThatHangsIsFatal: first Fatal is told, and where that does not end the
// process a timer of C does.
func TestAnAbortThatHangsIsFatal(t *testing.T) {
	if os.Getenv(hangVar) != "" {
		o := nccl.Options{AbortPatience: 300 * time.Millisecond, Fatal: func(cause error) { fmt.Printf("told: %v\n", cause) }}
		each(t, "abort@0:stuck,abort@1:stuck,all-reduce#2@1:hang", o, reduce)
		t.Fatal("the ranks went on")
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAnAbortThatHangsIsFatal$", "-test.timeout=1m")
	child.Env = append(os.Environ(), hangVar+"=1")
	out, err := child.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("the process ended with %v, want exit code 1", err)
	}
	const want = "stopped within the call after 500ms; arrived: 0, 1; NCCL has not ended its abort after 300ms"
	if !strings.Contains(string(out), want) || strings.Contains(string(out), "panic") || strings.Contains(string(out), "went on") {
		t.Errorf("it said\n%s, want %q", out, want)
	}
}

// hangVar has this test be its own child.
const hangVar = "OCTET_NCCL_TEST_HANG"
