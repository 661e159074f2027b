// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// Run opens n ranks as goroutines of this process, calls main on each, and closes
// them. A rank that fails, by an error, a panic or runtime.Goexit, aborts the others;
// Run returns the failure that came first, with its rank. The end of ctx aborts all,
// and Run then returns its cause.
func Run(ctx context.Context, n int, o Options, main func(r *Rank) error) error {
	ranks, err := Local(n, o)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { ranks[0].World.Abort(context.Cause(ctx)) })
	errs, first := each(ranks, main)
	stop()
	if first >= 0 {
		err = cmp.Or(context.Cause(ctx), fmt.Errorf("rank %d: %w", first, errs[first]))
	}
	for _, r := range ranks {
		if closed := r.Close(); err == nil {
			err = closed
		}
	}
	return err
}

// Each calls main on every rank, in goroutines, and returns their errors by rank. A
// rank that fails aborts the others, as those of Run.
func Each(ranks []*Rank, main func(r *Rank) error) []error {
	errs, _ := each(ranks, main)
	return errs
}

// errLeft is the failure of a rank that called runtime.Goexit.
var errLeft = errors.New("left its goroutine without returning (t.FailNow?)")

// each also says which rank failed first; -1: none.
func each(ranks []*Rank, main func(r *Rank) error) (errs []error, first int) {
	errs, first = make([]error, len(ranks)), -1
	var failed sync.Once
	var all sync.WaitGroup
	for i, r := range ranks {
		all.Go(func() {
			errs[i] = errLeft
			defer func() {
				if p := recover(); p != nil {
					errs[i] = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
				}
				if errs[i] != nil {
					failed.Do(func() { first = i })
					r.World.Abort(errs[i])
					_ = r.Device.Wait() // what streams still say comes of the failure
				}
			}()
			errs[i] = main(r)
		})
	}
	all.Wait()
	return errs, first
}
