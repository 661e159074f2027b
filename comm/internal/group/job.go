// SPDX-License-Identifier: Apache-2.0

package group

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"octet/comm"
)

// DefaultTimeout is how long a wait may take where nothing else was asked for.
const DefaultTimeout = 5 * time.Minute

// Job is what all groups of one job share: the deadline of waits, and whether
// the job was aborted. Goroutine ranks share one Job; each process has its own
// and is told of the others' aborts.
type Job struct {
	timeout atomic.Int64
	cause   atomic.Pointer[comm.AbortError]
	once    sync.Once
	ctx     context.Context // canceled by the abort
	cancel  context.CancelFunc

	// Look, if set, asks the other processes whether one has aborted; it must
	// be cheap. Tell, if set, tells them; it is called once.
	Look func() *comm.AbortError
	Tell func(*comm.AbortError)
}

// NewJob makes a Job; a timeout of 0 is DefaultTimeout.
func NewJob(timeout time.Duration) *Job {
	j := &Job{}
	j.ctx, j.cancel = context.WithCancel(context.Background())
	j.SetTimeout(timeout)
	return j
}

// SetTimeout changes how long a wait may take; 0 is DefaultTimeout.
func (j *Job) SetTimeout(d time.Duration) {
	if d <= 0 {
		d = DefaultTimeout
	}
	j.timeout.Store(int64(d))
}

// Timeout is how long a wait may take.
func (j *Job) Timeout() time.Duration { return time.Duration(j.timeout.Load()) }

// Done is closed when the job is aborted.
func (j *Job) Done() <-chan struct{} { return j.ctx.Done() }

// Deadline is a context that ends with the job or after its timeout.
func (j *Job) Deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(j.ctx, j.Timeout())
}

// AfterAbort calls f in a goroutine of its own once the job is aborted, unless
// stop is called before.
func (j *Job) AfterAbort(f func()) (stop func() bool) { return context.AfterFunc(j.ctx, f) }

// Abort ends the job with a cause found by a rank of the world; of several
// causes the first wins, and is returned.
func (j *Job) Abort(rank int, cause error) *comm.AbortError {
	return j.Hear(&comm.AbortError{Rank: rank, Err: cause})
}

// Hear is Abort with what another process has told. It is passed on before it
// is known here: this process may end as soon as it knows, and the others
// would take that for the cause.
func (j *Job) Hear(e *comm.AbortError) *comm.AbortError {
	j.once.Do(func() {
		if j.Look != nil {
			if first := j.Look(); first != nil {
				e = first
			}
		}
		if j.Tell != nil {
			j.Tell(e)
		}
		j.cause.Store(e)
		j.cancel()
	})
	return j.cause.Load()
}

// Cause is the error that ended the job, or nil.
func (j *Job) Cause() error {
	if e := j.cause.Load(); e != nil {
		return e
	}
	if j.Look == nil {
		return nil
	}
	if e := j.Look(); e != nil {
		return j.Hear(e)
	}
	return nil
}
