// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"octet/comm"
)

// TestRunReturnsTheFirstFailure, with its rank, whatever it is; the others are
// aborted, and all has ended and is closed when Run returns.
func TestRunReturnsTheFirstFailure(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func() error
		want string
	}{
		{"none", func() error { return nil }, ""},
		{"error", func() error { return errors.New("boom") }, "rank 2: boom"},
		{"panic", func() error { panic("shapes [2 3] and [4]") }, "rank 2: panic: shapes [2 3] and [4]\ngoroutine "},
		{"goexit", func() error { runtime.Goexit(); return nil }, "rank 2: left its goroutine"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ended := make([]error, 4)
			err := Run(t.Context(), 4, Options{Timeout: time.Hour}, func(r *Rank) error {
				s := r.Device.NewStream("test")
				if r.World.Rank() == 2 {
					if err := tt.fail(); err != nil {
						return err
					}
				}
				r.World.Barrier(s)
				ended[r.World.Rank()] = s.Sync()
				return ended[r.World.Rank()]
			})
			if tt.want == "" && err != nil || !strings.HasPrefix(fmt.Sprint(err), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			for rank, err := range ended {
				if _, text, _ := strings.Cut(tt.want, ": "); rank != 2 && tt.want != "" && (err == nil || !strings.Contains(err.Error(), "aborted by rank 2: "+text)) {
					t.Errorf("rank %d ended with %v, want what rank 2 failed of", rank, err)
				}
			}
		})
	}
}

// TestTheEndOfAContextAbortsAllRanks with its cause, which Run returns.
func TestTheEndOfAContextAbortsAllRanks(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("no more time")
	err := Run(ctx, 3, Options{Timeout: time.Hour}, func(r *Rank) error {
		s := r.Device.NewStream("test")
		if r.World.Rank() == 0 {
			cancel(cause)
			return nil
		}
		r.World.AllReduce(s, comm.T(), comm.Sum)
		err := s.Sync()
		if err == nil || !strings.Contains(err.Error(), cause.Error()) {
			t.Errorf("rank %d ended with %v", r.World.Rank(), err)
		}
		return err
	})
	if !errors.Is(err, cause) {
		t.Errorf("error %v, want the context's", err)
	}
}

// TestRunOpensNothingForAnUnknownDevice.
func TestRunOpensNothingForAnUnknownDevice(t *testing.T) {
	err := Run(t.Context(), 2, Options{Device: "abacus"}, func(*Rank) error { t.Error("a rank runs"); return nil })
	if err == nil || !strings.Contains(err.Error(), `there is no device "abacus"`) {
		t.Errorf("error %v", err)
	}
}
