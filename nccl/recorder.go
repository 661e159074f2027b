// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package nccl

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"octet/comm"
	"octet/device"
)

// recorder is a ring of a rank's last calls, by which one that hangs is found and told.
type recorder struct {
	mu    sync.Mutex // of the caller and the watchdog, which looks for some microseconds
	ring  [ringLen]entry
	begun uint64                // calls entered
	first uint64                // all before have ended
	blind bool                  // the driver is left alone
	held  []device.NativeStream // with a call that has not ended; of look
}

// close looks a last time, and ends all questions to the driver, as an abort has to.
func (r *recorder) close(f func(e *entry)) {
	r.look(time.Now(), f)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blind = true
}

const ringLen = 2000

// state is how far a call has come.
type state uint8

const (
	entered  state = iota // NCCL may not have it in the stream yet
	enqueued              // the stream has not come to it
	started               // it waits for peers, or moves data
	finished
)

func (s state) String() string { return [...]string{"entered", "enqueued", "started", "finished"}[s] }

// entry is a call.
type entry struct {
	comm   *Comm
	sig    comm.Call
	in     uint64 // addresses of the first tensor
	out    uint64
	stream device.NativeStream
	start  device.Event
	end    device.Event
	state  state
	at     time.Time // entered
	seen   time.Time // started, by the watchdog
}

// begin enters a call, before it is in the stream. It reports false after close: an abort that does not know of the call would end it
// as if it were done.
func (r *recorder) begin(c *Comm, s device.NativeStream, sig *comm.Call, l *list) bool {
	start := s.Record()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.blind {
		return false
	}
	e := &r.ring[r.begun%ringLen]
	*e = entry{comm: c, sig: *sig, stream: s, start: start, at: time.Now()}
	if len(l.send) > 0 {
		e.in, e.out = l.send[0], l.recv[0]
	}
	r.begun++
	if r.begun-r.first > ringLen { // more are under way than are kept: the oldest are not watched
		r.first = r.begun - ringLen
	}
	return true
}

// enqueued completes the last call when it is in the stream.
func (r *recorder) enqueued(s device.NativeStream) {
	end := s.Record()
	r.mu.Lock()
	defer r.mu.Unlock()
	e := &r.ring[(r.begun-1)%ringLen]
	e.end, e.state = end, enqueued
}

// look finds how far the calls have come, of each stream up to the first that has not
// ended. It calls f for each that has not, in their order.
func (r *recorder) look(now time.Time, f func(e *entry)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ended := true // all so far
	r.held = r.held[:0]
	for n := r.first; n < r.begun; n++ {
		e := &r.ring[n%ringLen]
		ask := !r.blind && e.state != finished && !slices.Contains(r.held, e.stream)
		if ask && e.state == enqueued && e.start.Done() {
			e.state, e.seen = started, now
		}
		if ask && e.state == started && e.end.Done() {
			e.state, e.start, e.end = finished, nil, nil
		}
		if ended = ended && e.state == finished; ended {
			r.first = n + 1
		}
		if ask && e.state != finished {
			r.held = append(r.held, e.stream)
		}
		if f != nil && e.state != finished {
			f(e)
		}
	}
}

// recent calls f for the calls that are kept, the newest first.
func (r *recorder) recent(f func(e *entry)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := r.begun; n > 0 && r.begun-n < ringLen; n-- {
		f(&r.ring[(n-1)%ringLen])
	}
}

// dump writes the calls that are kept, the oldest first. Events are not asked: after an
// abort the driver is left alone.
func (r *recorder) dump(w io.Writer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := uint64(0)
	if r.begun > ringLen {
		from = r.begun - ringLen
	}
	for n := from; n < r.begun; n++ {
		e := &r.ring[n%ringLen]
		if _, err := fmt.Fprintf(w, "%s %s: %v in %#x out %#x, %v\n", e.at.Format(time.RFC3339Nano),
			e.sig.Title(e.comm.Name()), &e.sig, e.in, e.out, e.state); err != nil {
			return err
		}
	}
	return nil
}
