// SPDX-License-Identifier: Apache-2.0

package commtest_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"octet/comm"
	"octet/comm/commtest"
	"octet/comm/local"
	"octet/device"
	"octet/dtype"
	"octet/tensor"
	"octet/test/ranks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, n int) []commtest.Rank {
	return commtest.On(ranks.Device(t, ranks.Options{}), local.New(n, local.Options{Timeout: time.Hour})...)
}

// TestARankThatFailsAbortsTheOthers, which would wait for an hour.
func TestARankThatFailsAbortsTheOthers(t *testing.T) {
	for _, tt := range []struct {
		says string
		fail func() error
	}{
		{"a wrong result", func() error { return errors.New("a wrong result") }},
		{"panic: no such shape", func() error { panic("no such shape") }},
		{"left its goroutine", func() error { runtime.Goexit(); return nil }},
	} {
		for r, err := range commtest.Together(open(t, 3), func(e *commtest.Env) error {
			if e.Rank() == 2 {
				return tt.fail()
			}
			e.Barrier(e.Stream)
			return e.Stream.Sync()
		}) {
			want := tt.says
			if r != 2 {
				want = "aborted by rank 2: " + tt.says
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: rank %d: error %v, want %q", tt.says, r, err, want)
			}
		}
	}
}

// reducer is a communicator whose all-reduces are made another way, on another
// group.
type reducer struct {
	comm.Comm
	other  comm.Comm
	reduce func(c comm.Comm, s device.Stream, ts []*tensor.Tensor, op comm.Op)
}

func (r reducer) AllReduce(s device.Stream, ts []*tensor.Tensor, op comm.Op) {
	r.reduce(r.other, s, ts, op)
}

// TestPromisesDecideWhatIsAnError: the same communicator fails or passes a case.
func TestPromisesDecideWhatIsAnError(t *testing.T) {
	near := commtest.Promises{Tolerance: map[dtype.Type]float64{dtype.Float32: 1e-6, dtype.BFloat16: 1.0 / 128}}
	inOrder := func(c comm.Comm, s device.Stream, ts []*tensor.Tensor, op comm.Op) { c.AllReduce(s, ts, op) }
	for _, tt := range []struct {
		name, of string // of: the case
		reversed bool   // the order of ranks
		reduce   func(c comm.Comm, s device.Stream, ts []*tensor.Tensor, op comm.Op)
		promises commtest.Promises
		want     string // part of an error; empty: none
	}{
		{"rank order", "all-reduce", false, inOrder, commtest.Promises{}, ""},
		{"another order", "all-reduce", true, inOrder, commtest.Promises{}, "all-reduce sum: element "},
		{"another order, as promised", "all-reduce", true, inOrder, near, ""},
		{"lists in another order, as promised", "all-reduce of lists", true, inOrder, near, ""},
		{"another sum", "all-reduce", false, func(c comm.Comm, s device.Stream, ts []*tensor.Tensor, op comm.Op) {
			c.AllReduce(s, ts, op)
			if ts[0].Type == dtype.Float32 {
				s.Add(ts[0], ts[0], ts[0])
			}
		}, near, "within"},
		{"another maximum of integers", "all-reduce", false, func(c comm.Comm, s device.Stream, ts []*tensor.Tensor, op comm.Op) {
			if ts[0].Type != dtype.Int32 {
				c.AllReduce(s, ts, op)
			}
		}, near, "of int32["},
		{"only the first of a list", "all-reduce of lists", false, func(c comm.Comm, s device.Stream, ts []*tensor.Tensor, op comm.Op) {
			c.AllReduce(s, ts[:min(len(ts), 1)], op)
		}, near, "tensor 1 of list 0"},
		{"NaN is lost", "all-reduce of NaN", false, func(c comm.Comm, s device.Stream, ts []*tensor.Tensor, op comm.Op) {
			s.Zero(ts[0])
			c.AllReduce(s, ts, op)
		}, commtest.Promises{}, "all-reduce of float32 with a NaN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list := open(t, 3)
			suite := commtest.Suite{Promises: tt.promises}
			var run func(*commtest.Env) error
			for _, c := range commtest.Results() {
				if c.Name == tt.of {
					run = c.Run
				}
			}
			found := ""
			for _, err := range suite.Together(list, func(e *commtest.Env) error {
				c := e.Comm
				if tt.reversed {
					var err error
					if c, err = c.Split(0, -c.Rank()); err != nil {
						return err
					}
				}
				e.Comm = reducer{e.Comm, c, tt.reduce}
				return run(e)
			}) {
				if err != nil && (found == "" || !strings.Contains(err.Error(), "aborted")) {
					found = err.Error()
				}
			}
			if (found == "") != (tt.want == "") || !strings.Contains(found, tt.want) {
				t.Errorf("error %q, want one with %q", found, tt.want)
			}
		})
	}
}

// TestOtherDevicesHoldTheirStreamsThemselves: a promise comes before calls.
func TestOtherDevicesHoldTheirStreamsThemselves(t *testing.T) {
	held := make([]int, 2)
	suite := commtest.Suite{}
	for r, err := range suite.Together(open(t, 2), func(e *commtest.Env) error {
		own := e.Hold
		e.Promises.Hold = func(s device.Stream) func() {
			held[e.Rank()]++
			e.Promises.Hold = nil
			return own(s)
		}
		release := e.Hold(e.Stream)
		e.Barrier(e.Stream)
		if e.Stream.Record().Done() {
			return fmt.Errorf("a held stream went on")
		}
		release()
		return e.Stream.Sync()
	}) {
		if err != nil {
			t.Errorf("rank %d: %v", r, err)
		}
	}
	if held[0] != 1 || held[1] != 1 {
		t.Errorf("streams were held %v times by the promise, want once on each rank", held)
	}
}
