// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"octet/device"
	"octet/tensor"
)

// yieldAfter is how long a stream's goroutine runs kernels before it lets Go's scheduler choose anew. One that has run for 10 ms is overdue: sysmon
// then takes the P away in each of its kernels, and, since it found one to take, looks again every 20 µs, on a processor that computes.
const yieldAfter = 5 * time.Millisecond

// queueLen bounds how far the host runs ahead of a stream.
const queueLen = 4096

// Stream runs work in order on a goroutine of its own. The kernels are in the
// files named after them.
type Stream struct {
	name    string
	dev     *Device
	workers *workers
	scratch scratch
	queue   chan work
	ended   chan struct{}
	closed  atomic.Bool
	// packedOf is op(b) of the last series of products, which slotPackedB has.
	packedOf panel
	err      error // of the running goroutine; read by others only after an event
}

var _ device.HostStream = (*Stream)(nil)

func newStream(d *Device, name string) *Stream {
	begin := func() {}
	if name == "compute" {
		begin = giveWay
	}
	s := &Stream{name: name, dev: d, workers: newWorkers(d.threads, begin), queue: make(chan work, queueLen), ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		begin()
		chosen := time.Now()
		for w := range s.queue {
			s.run(w)
			if time.Since(chosen) > yieldAfter {
				runtime.Gosched()
				chosen = time.Now()
			}
		}
	}()
	return s
}

// work is a piece of a stream's work: one of the three.
type work struct {
	kernel func() // skipped once the stream has an error
	always func()
	event  *event // happens
}

func (s *Stream) run(w work) {
	switch {
	case w.event != nil:
		w.event.err = s.err
		close(w.event.done)
	case w.always != nil:
		w.always()
	case s.err == nil:
		w.kernel()
	}
}

func (s *Stream) enqueue(w work) {
	if s.closed.Load() {
		panic(fmt.Sprintf("cpu: stream %q is used after its device was closed", s.name))
	}
	s.queue <- w
}

// do enqueues a kernel.
func (s *Stream) do(f func()) { s.enqueue(work{kernel: f}) }

// Call enqueues f; see device.HostStream.
func (s *Stream) Call(what string, f func() error) {
	s.do(func() {
		if err := f(); err != nil {
			s.err = fmt.Errorf("%s: %w", what, err)
		}
	})
}

// Bytes is the memory of t; see device.HostStream.
func (s *Stream) Bytes(t *tensor.Tensor) []byte { return raw(t) }

// Upload copies src to dst; see device.Stream.
func (s *Stream) Upload(dst *tensor.Tensor, src []byte) {
	if len(src) != dst.Bytes() {
		panic(fmt.Sprintf("cpu: upload of %d bytes to %v (%d bytes)", len(src), dst, dst.Bytes()))
	}
	held := append([]byte(nil), src...)
	s.do(func() { copy(raw(dst), held) })
}

// Download copies src to dst; see device.Stream.
func (s *Stream) Download(dst []byte, src *tensor.Tensor) {
	if len(dst) != src.Bytes() {
		panic(fmt.Sprintf("cpu: download of %v (%d bytes) to %d bytes", src, src.Bytes(), len(dst)))
	}
	s.do(func() { copy(dst, raw(src)) })
}

type event struct {
	done chan struct{}
	err  error // the stream's error at the event; read after done
}

// Done reports whether the work before the event has run.
func (e *event) Done() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// Sync waits for the event; see device.Event.
func (e *event) Sync() error {
	<-e.done
	return e.err
}

// Record marks the work enqueued so far; see device.Stream.
func (s *Stream) Record() device.Event {
	e := &event{done: make(chan struct{})}
	s.enqueue(work{event: e})
	return e
}

// Wait holds later work until e; see device.Stream.
func (s *Stream) Wait(ev device.Event) {
	e := ev.(*event)
	s.enqueue(work{always: func() {
		<-e.done
		if s.err == nil {
			s.err = e.err
		}
	}})
}

// Sync waits for the stream; see device.Stream. The error is returned once.
func (s *Stream) Sync() error {
	result := make(chan error, 1)
	s.enqueue(work{always: func() {
		result <- s.err
		s.err = nil
	}})
	return <-result
}

func (s *Stream) close() error {
	s.closed.Store(true)
	close(s.queue)
	<-s.ended
	s.workers.close()
	s.scratch.free()
	return s.err
}
