// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package nccl_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
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

// open connects n ranks of this process.
func open(t testing.TB, n int, o nccl.Options) []commtest.Rank {
	t.Helper()
	ranks, err := connect(t, n, o)
	if err != nil {
		t.Fatal(err)
	}
	return ranks
}

func connect(t testing.TB, n int, o nccl.Options) ([]commtest.Rank, error) {
	t.Helper()
	ranks := make([]commtest.Rank, n)
	errs := make([]error, n)
	devices := make([]device.Device, n)
	for r := range devices {
		devices[r] = gpu(t, r)
	}
	var wg sync.WaitGroup
	for r, control := range local.Control(n, local.Options{Timeout: 20 * time.Second}) {
		wg.Go(func() {
			ranks[r].Device = devices[r]
			ranks[r].Comm, errs[r] = nccl.Connect(devices[r], control, o)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	t.Cleanup(func() { // again does no harm
		for r, c := range ranks {
			if err := c.Comm.(comm.Control).Close(); err != nil {
				t.Errorf("closing rank %d: %v", r, err)
			}
		}
	})
	return ranks, nil
}

// promises are what NCCL keeps; the simulator sums in rank order.
var promises = commtest.Promises{OneOrder: true, LateMismatch: true, Hold: hold}

func TestConformance(t *testing.T) {
	commtest.Run(t, []int{1, 2, 3}, commtest.Suite{
		Open:     func(t *testing.T, n int) []commtest.Rank { return open(t, n, nccl.Options{}) },
		Promises: promises,
	})
}

// TestCollectivesAreOrdered: in whatever order a device runs what it may, results are
// right and no two accesses to memory depend on luck.
func TestCollectivesAreOrdered(t *testing.T) {
	for _, tt := range []struct {
		mode  string
		ranks int
	}{{"late", 2}, {"late", 3}, {"lazy", 2}, {"random", 3}, {"eager", 2}} {
		t.Run(fmt.Sprint(tt.mode, " ", tt.ranks), func(t *testing.T) {
			t.Setenv("SIM_MODE", tt.mode)
			driver := simulate(t)
			driver.Reset()
			ranks := open(t, tt.ranks, nccl.Options{})
			for _, c := range slices.Concat(commtest.Results(), commtest.Splits()) {
				if c.Name == "many small calls" {
					continue // what is next is looked for among all of them
				}
				for r, err := range (commtest.Suite{Promises: promises}).Together(ranks, c.Run) {
					if err != nil {
						t.Fatalf("%s: rank %d: %v", c.Name, r, err)
					}
				}
			}
			for _, f := range driver.Findings() {
				t.Error("found:", f)
			}
		})
	}
}

// TestCallsAllocateNothing beyond the events that the watchdog needs.
func TestCallsAllocateNothing(t *testing.T) {
	ranks := open(t, 2, nccl.Options{})
	var turn sync.Mutex // what is counted is the process's; nothing waits for the other rank
	errs := commtest.Suite{Promises: promises}.Together(ranks, func(e *commtest.Env) error {
		x, whole := e.New(dtype.Float32, 1000), e.New(dtype.Float32, 2000)
		list, wholes := comm.T(x, x), comm.T(whole, whole)
		turn.Lock()
		defer turn.Unlock()
		event := testing.AllocsPerRun(100, func() { e.Stream.Record() })
		calls := testing.AllocsPerRun(100, func() {
			e.AllReduce(e.Stream, list, comm.Sum)
			e.AllGather(e.Stream, wholes, list)
			e.ReduceScatter(e.Stream, list, wholes, comm.Sum)
			e.Barrier(e.Stream)
		})
		if calls > 4*2*event {
			return fmt.Errorf("four collectives allocate %v times, their eight events %v", calls, 8*event)
		}
		return nil
	})
	for r, err := range errs {
		if err != nil {
			t.Errorf("rank %d: %v", r, err)
		}
	}
}

// TestNCCLIsToldWhatTheUserDidNotSay.
func TestNCCLIsToldWhatTheUserDidNotSay(t *testing.T) {
	t.Setenv("NCCL_DEBUG", "INFO")
	for _, name := range []string{"NCCL_DEBUG_FILE", "NCCL_LAUNCH_ORDER_IMPLICIT"} {
		t.Setenv(name, "")
	}
	open(t, 2, nccl.Options{Dump: "/tmp/of-the-job"})
	for name, want := range map[string]string{"NCCL_DEBUG": "INFO", "NCCL_DEBUG_FILE": "/tmp/of-the-job/nccl.%h.%p", "NCCL_LAUNCH_ORDER_IMPLICIT": "1"} {
		if got := os.Getenv(name); got != want {
			t.Errorf("%s=%q, want %q", name, got, want)
		}
	}
}
