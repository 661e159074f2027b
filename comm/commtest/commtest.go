// SPDX-License-Identifier: Apache-2.0

// Package commtest is the conformance suite of communicators. An
// implementation's test says how to make n connected ranks, and on which
// device:
//
//	func TestConformance(t *testing.T) {
//		commtest.Run(t, []int{1, 2, 3}, commtest.Suite{Open: func(t *testing.T, n int) []commtest.Rank {
//			dev := ranks.Device(t, ranks.Options{})
//			return commtest.On(dev, local.New(n, local.Options{})...)
//		}})
//	}
//
// Run covers results (against a plain oracle, bit for bit unless the Suite has
// tolerances), splits, the order of calls, mismatched calls, deadlines and
// aborts, with all ranks in this process. Results are also exported as cases
// for tests whose ranks are processes.
package commtest

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"octet/comm"
	"octet/device"
	"octet/dtype"
)

// Rank is one rank under test: its communicator, which implements
// comm.Control, and the device whose streams and memory it is used with.
type Rank struct {
	comm.Comm
	Device device.Device
}

// On gives communicators one device, which they share.
func On(dev device.Device, comms ...comm.Comm) []Rank {
	ranks := make([]Rank, len(comms))
	for r, c := range comms {
		ranks[r] = Rank{c, dev}
	}
	return ranks
}

// Suite is what is tested, and what it promises: the zero value promises all
// that package comm does.
type Suite struct {
	// Open makes n connected ranks in this process, in the order of their
	// ranks, with a generous timeout. The suite closes the communicators; the
	// devices end with the test.
	Open func(t *testing.T, n int) []Rank
	Promises
}

// Promises are for communicators that cannot keep all of package comm's.
type Promises struct {
	// Tolerance is how far a reduced element of a type may be from its sum in
	// rank order, relative to the sum of magnitudes; 0: it has the same bits.
	Tolerance map[dtype.Type]float64
	// OneOrder: all ranks enqueue the work of their groups in one order.
	OneOrder bool
	// LateMismatch: ranks that make different calls need not be told so.
	LateMismatch bool
	// Hold stops a stream until release is called. Without it a stream is held
	// by a call that waits, if it is a device.HostStream; others are not held,
	// and what needs it is not tested.
	Hold func(s device.Stream) (release func())
}

// Case is a body that every rank of a group runs; it leaves the group usable.
type Case struct {
	Name string
	Run  func(e *Env) error
}

// errLeft is the failure of a rank that called runtime.Goexit.
var errLeft = errors.New("left its goroutine without returning (t.FailNow?)")

// Together runs f on every rank and returns the errors by rank. A rank that
// fails aborts the others, so that none waits for it.
func (s Suite) Together(ranks []Rank, f func(e *Env) error) []error {
	errs := make([]error, len(ranks))
	var wg sync.WaitGroup
	for r, rank := range ranks {
		wg.Go(func() {
			e := NewEnv(rank, s.Promises)
			errs[r] = errLeft
			defer func() {
				if p := recover(); p != nil {
					errs[r] = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
				}
				if errs[r] != nil {
					e.Abort(errs[r])
				}
				e.Close()
			}()
			errs[r] = f(e)
		})
	}
	wg.Wait()
	return errs
}

// Together is Suite.Together of a communicator that keeps all promises.
func Together(ranks []Rank, f func(e *Env) error) []error { return Suite{}.Together(ranks, f) }

// Run runs the whole suite on groups of the given sizes; faults need at least
// two ranks.
func Run(t *testing.T, sizes []int, s Suite) {
	for _, n := range sizes {
		t.Run(fmt.Sprintf("%d ranks", n), func(t *testing.T) {
			t.Parallel()
			ranks := s.opened(t, n)
			for _, c := range slices.Concat(Results(), Splits()) {
				if t.Failed() {
					break // the group was aborted
				}
				t.Run(c.Name, func(t *testing.T) {
					for r, err := range s.Together(ranks, c.Run) {
						if err != nil {
							t.Errorf("rank %d: %v", r, err)
						}
					}
				})
			}
			if n > 1 {
				t.Run("faults", func(t *testing.T) {
					t.Parallel()
					s.faults(t, n)
				})
			}
		})
	}
}

func (s Suite) opened(t *testing.T, n int) []Rank {
	ranks := s.Open(t, n)
	t.Cleanup(func() {
		for r, c := range ranks {
			if err := c.Comm.(comm.Control).Close(); err != nil {
				t.Errorf("closing rank %d: %v", r, err)
			}
		}
	})
	return ranks
}

// mentions fails the test unless err has all the words.
func mentions(t *testing.T, rank int, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("rank %d: no error, want one that mentions %q", rank, words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("rank %d: error %q does not mention %q", rank, err, w)
		}
	}
}
