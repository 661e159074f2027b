// SPDX-License-Identifier: Apache-2.0

// Package local runs the ranks of a job as goroutines of one process, so that a
// job of many ranks runs under `go test`. Use octet run for processes.
//
//	comms := local.New(4) // of package comm/local
//	err := launch.Run(ctx, 4, func(ctx context.Context, rank int) error {
//		return train(ctx, comms[rank])
//	})
package local

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// errLeft is the failure of a rank that called runtime.Goexit.
var errLeft = errors.New("left its goroutine without returning (t.FailNow?)")

// Run calls main for ranks 0 to n-1, each in its own goroutine, and returns when
// all have ended. The first error or panic cancels ctx for the others, with
// itself as the cause, and is what Run returns, with the rank that it came from.
func Run(ctx context.Context, n int, main func(ctx context.Context, rank int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var first error
	var once sync.Once
	var ranks sync.WaitGroup
	for rank := range n {
		ranks.Go(func() {
			err := errLeft
			defer func() {
				if p := recover(); p != nil {
					err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
				}
				if err != nil {
					once.Do(func() {
						first = fmt.Errorf("rank %d: %w", rank, err)
						cancel(first)
					})
				}
			}()
			err = main(ctx, rank)
		})
	}
	ranks.Wait()
	return first
}
