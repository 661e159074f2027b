// SPDX-License-Identifier: Apache-2.0

package local_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"octet/comm"
	"octet/comm/commtest"
	"octet/comm/local"
)

// TestStuckStream: calls of a group run in the order in which they were made,
// so one on a stream that is stuck holds up one on another, up to the
// deadline.
func TestStuckStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ranks := open(t, 1, local.Options{Timeout: time.Minute})
		start := time.Now()
		err := commtest.Together(ranks, func(e *commtest.Env) error {
			release := e.Hold(e.Stream)
			e.Barrier(e.Stream)
			other := e.NewStream()
			e.Barrier(other)
			err := other.Sync()
			release()
			return err
		})[0]
		if want := "barrier #2 of group \"world\" (0 bytes): call #1 of this rank, on another stream, has not run after 1m0s"; err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if d := time.Since(start); d != time.Minute {
			t.Errorf("it took %v, want a minute", d)
		}
	})
}

// TestTimeoutCanChange: the deadline is the job's on this rank, whichever
// group sets it.
func TestTimeoutCanChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ranks := open(t, 2, local.Options{Timeout: time.Minute})
		errs := commtest.Together(ranks, func(e *commtest.Env) error {
			child, err := e.Split(0, e.Rank())
			if err != nil {
				return err
			}
			child.(comm.Control).SetTimeout(time.Hour)
			if e.Rank() == 0 {
				e.Barrier(e.Stream)
			}
			return e.Stream.Sync()
		})
		if err := errs[0]; err == nil || !strings.Contains(err.Error(), "rank 1 has not arrived after 1h0m0s") {
			t.Errorf("error %v, want rank 1 missing after an hour", err)
		}
	})
}

// TestAbortWakesQueuedCalls: a call that waits for its turn ends with the
// abort too.
func TestAbortWakesQueuedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ranks := open(t, 1, local.Options{})
		commtest.Together(ranks, func(e *commtest.Env) error {
			release := e.Hold(e.Stream)
			e.Barrier(e.Stream)
			other := e.NewStream()
			e.Barrier(other)
			synctest.Wait()
			e.Abort(errors.New("stop"))
			if err := other.Sync(); err == nil || !strings.Contains(err.Error(), "aborted by rank 0: stop") {
				t.Errorf("error %v, want the abort", err)
			}
			release()
			return nil
		})
	})
}
