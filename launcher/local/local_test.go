// SPDX-License-Identifier: Apache-2.0

package local

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAllRanksRun(t *testing.T) {
	ran := make([]int, 4)
	err := Run(t.Context(), 4, func(_ context.Context, rank int) error {
		ran[rank]++
		return nil
	})
	if err != nil || !slices.Equal(ran, []int{1, 1, 1, 1}) {
		t.Errorf("ran %v, error %v", ran, err)
	}
}

// A failure of rank 2 reaches the others as the cause of their context, and they
// have all ended when Run returns.
func TestFailureCancelsOthers(t *testing.T) {
	boom := errors.New("boom")
	for _, tt := range []struct {
		name string
		fail func() error
		want string
	}{
		{"error", func() error { return boom }, "rank 2: boom"},
		{"panic", func() error { panic("shapes [2 3] and [4]") }, "rank 2: panic: shapes [2 3] and [4]"},
		{"goexit", func() error { runtime.Goexit(); return nil }, "rank 2: left its goroutine"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var cancelled atomic.Int32
			err := Run(t.Context(), 4, func(ctx context.Context, rank int) error {
				if rank == 2 {
					return tt.fail()
				}
				<-ctx.Done()
				if strings.HasPrefix(context.Cause(ctx).Error(), tt.want) {
					cancelled.Add(1)
				}
				return ctx.Err()
			})
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if cancelled.Load() != 3 {
				t.Errorf("%d of 3 ranks saw the cause", cancelled.Load())
			}
		})
	}
}

func TestPanicShowsItsStack(t *testing.T) {
	err := Run(t.Context(), 1, func(context.Context, int) error { panic("here") })
	if !strings.Contains(err.Error(), "TestPanicShowsItsStack") {
		t.Errorf("no stack in %v", err)
	}
}
