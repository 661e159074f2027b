// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package nccl

import (
	"fmt"
	"path/filepath"
	"time"

	"octet/device"
	"octet/device/cuda/api"
	"octet/internal/durable"
)

const (
	// watchInterval is how often the watchdog looks, more often where timeouts are short.
	watchInterval = 200 * time.Millisecond
	// askPatience is how long ranks have to say how far they are.
	askPatience = 2 * time.Second
)

// watch ends the job when a call does not end, or NCCL has an error, or another rank
// ends it. It runs until Close or until it has aborted.
func (j *job) watch() {
	for {
		select {
		case <-j.stop:
			return
		case <-j.control.Done():
			j.aborted.Do(j.abort)
			return
		case <-time.After(min(watchInterval, j.control.Timeout()/5)):
		}
		err := j.failed()
		if err == nil {
			err = j.late()
		}
		if err != nil {
			j.control.Abort(fmt.Errorf("%w%s", err, j.dump()))
		}
	}
}

// failed is an error that NCCL found by itself. Communicators in use are asked by who
// uses them.
func (j *job) failed() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range j.comms {
		if !c.mu.TryLock() {
			continue
		}
		var state api.NCCLResult
		r := j.lib.CommGetAsyncError(c.handle.comm(), &state)
		c.mu.Unlock()
		if r == api.NCCLSuccess {
			r = state
		}
		if r != api.NCCLSuccess && r != api.NCCLInProgress {
			return j.failure(fmt.Sprintf("group %q", c.Name()), r)
		}
	}
	return nil
}

// late is the error of the first call that has waited for its peers too long.
func (j *job) late() error {
	now, timeout := time.Now(), j.control.Timeout()
	var found *entry
	j.record.look(now, func(e *entry) {
		if found == nil && e.state == started && now.Sub(e.seen) > timeout {
			one := *e
			found = &one
		}
	})
	if found == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", found.sig.Title(found.comm.Name()), found.comm.missing(&found.sig, timeout))
}

// dump writes the recorder to its file and returns what an error says of it.
func (j *job) dump() string {
	if j.opts.Dump == "" {
		return ""
	}
	path := filepath.Join(j.opts.Dump, fmt.Sprintf("nccl.rank%d.txt", j.control.World(j.control.Rank())))
	if err := durable.Write(path, j.record.dump); err != nil {
		return fmt.Sprintf(" (the last calls could not be written: %v)", err)
	}
	return " (the last calls: " + path + ")"
}

// abort gives every stream with a call under way the cause, and has NCCL let go of it.
// Streams that wait for one another end together, so all communicators do.
func (j *job) abort() {
	guard := armGuard(2 * j.opts.patience())
	cause := j.control.Cause()
	failed := map[device.NativeStream]bool{}
	j.record.close(func(e *entry) {
		if !failed[e.stream] {
			failed[e.stream] = true
			e.stream.Fail(fmt.Errorf("%s: %w", e.sig.Title(e.comm.Name()), cause))
		}
	})
	j.mu.Lock()
	comms := j.comms
	j.comms, j.over = nil, true
	j.mu.Unlock()
	ended := make(chan error, 1)
	go func() { ended <- j.letGo(comms) }()
	var err error
	select {
	case err = <-ended:
	case <-time.After(j.opts.patience()):
		err = fmt.Errorf("NCCL has not ended its abort after %v", j.opts.patience())
	}
	if err != nil && j.opts.Fatal != nil {
		j.opts.Fatal(fmt.Errorf("%w; %w", cause, err))
	}
	if err == nil {
		guard.disarm()
	}
}

// inUse is how long a caller has to leave NCCL once the job has ended: it polls the
// job's end, unless NCCL itself does not return.
const inUse = time.Second

// letGo aborts communicators; it may never return.
func (j *job) letGo(comms []*Comm) error {
	var handles []uintptr
	for _, c := range comms {
		for end := time.Now().Add(inUse); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if c.mu.TryLock() {
				defer c.mu.Unlock()
				break
			}
		}
		handles = append(handles, c.handle.comm())
	}
	if r := abortAll(j.lib, handles); r != api.NCCLSuccess {
		return j.failure("ncclCommAbort", r)
	}
	return nil
}
