// SPDX-License-Identifier: Apache-2.0

package slow

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"octet/comm/commtest"
	"octet/comm/local"
	"octet/test/ranks"
)

// TestConformance: slow or not, it is the communicator that it was.
func TestConformance(t *testing.T) {
	commtest.Run(t, []int{1, 2, 3}, commtest.Suite{Open: func(t *testing.T, n int) []commtest.Rank {
		comms := local.New(n, local.Options{})
		for i, c := range comms {
			comms[i] = New(c, NewLink(10*time.Microsecond, 1e10))
		}
		return commtest.On(ranks.Device(t, ranks.Options{}), comms...)
	}})
}

// TestALinkIsSharedByWhatPassesIt: bytes come one behind the other, and latencies overlap.
func TestALinkIsSharedByWhatPassesIt(t *testing.T) {
	l := NewLink(3*time.Millisecond, 1e6)
	start := time.Unix(1000, 0)
	for i, tt := range []struct {
		at    time.Duration
		bytes float64
		want  time.Duration
	}{
		{0, 2000, 5 * time.Millisecond},                        // 2 ms on the link
		{time.Millisecond, 1000, 6 * time.Millisecond},         // behind it
		{10 * time.Millisecond, 500, 13500 * time.Microsecond}, // the link is free
		{10 * time.Millisecond, 0, 13500 * time.Microsecond},
	} {
		if got := l.pass(start.Add(tt.at), tt.bytes).Sub(start); got != tt.want {
			t.Errorf("message %d has arrived after %v, want %v", i, got, tt.want)
		}
	}
}

// TestSleepIsNotCutShort by signals, which the runtime sends to threads.
func TestSleepIsNotCutShort(t *testing.T) {
	var signals sync.WaitGroup
	asleep := make(chan struct{})
	signals.Go(func() {
		for {
			select {
			case <-asleep:
				return
			default:
				_ = syscall.Kill(syscall.Getpid(), syscall.SIGURG)
			}
		}
	})
	until := time.Now().Add(20 * time.Millisecond)
	sleep(until)
	if early := time.Until(until); early > 0 {
		t.Errorf("it returned %v early", early)
	}
	close(asleep)
	signals.Wait()
}
