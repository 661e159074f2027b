// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"fmt"
	"maps"
	"sync"
	"unsafe"

	"octet/device"
	"octet/device/cuda/api"
	"octet/tensor"
)

// Stream is a queue of work of a device. It implements device.Stream: what is behind an
// error may run or not, until a Sync has returned it.
type Stream struct {
	*kernels
	name    string
	dev     *Device
	handle  uintptr
	ring    ring
	work    *Buffer // cuBLASLt's, once there was a product
	closed  bool
	checked bool // ids, since the fault was copied

	mu     sync.Mutex
	err    error   // the first that no Sync has returned
	behind sources // the streams that it has waited for
	before sources // what events are given, until it changes
	noted  []byte  // pinned: the fault that was copied

	native  *event // behind the last work of another library; nil before there was any
	foreign bool   // nobody has waited for that
}

var _ device.Stream = (*Stream)(nil)

// computing are the streams that nobody waits for in a hurry.
var computing = map[string]bool{"compute": true, "checkpoint": true}

func (d *Device) newStream(name string) *Stream {
	s := &Stream{name: name, dev: d, behind: sources{}}
	s.ring = ring{s: s}
	priority := d.greatest
	if computing[name] {
		priority = d.least
	}
	if r := d.cuda.StreamCreateWithPriority(&s.handle, api.CU_STREAM_NON_BLOCKING, priority); r != api.CUDA_SUCCESS {
		s.err = d.failure("cuStreamCreateWithPriority "+name, r)
	}
	s.kernels = newKernels(s, device.NewPool(d), d.info.Processors)
	d.mu.Lock()
	d.streams = append(d.streams, s)
	d.mu.Unlock()
	return s
}

// fail keeps the stream's first error.
func (s *Stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setFailed(err)
}

// setFailed is fail for who holds the lock.
func (s *Stream) setFailed(err error) {
	if s.err == nil {
		s.err = err
	}
}

// check keeps what a call returned, if it is an error; where OCTET_CUDA_SYNC asks for it, it
// waits for the work. what is asked only then.
func (s *Stream) check(r api.Result, what func() string) {
	if r == api.CUDA_SUCCESS && s.dev.sync && !s.lasting() {
		r = s.dev.cuda.StreamSynchronize(s.handle)
	}
	if r != api.CUDA_SUCCESS {
		s.fail(s.dev.failure(what()+" on stream "+s.name, r))
	}
}

// Upload copies src, by way of pinned memory; see device.Stream.
func (s *Stream) Upload(dst *tensor.Tensor, src []byte) {
	s.usable()
	if s.uncaptured(func() string { return fmt.Sprintf("upload of %v", dst) }) {
		return
	}
	s.upload(dst, src)
}

func (s *Stream) upload(dst *tensor.Tensor, src []byte) {
	if len(src) != dst.Bytes() {
		panic(fmt.Sprintf("cuda: upload of %d bytes to %v (%d bytes)", len(src), dst, dst.Bytes()))
	}
	for at := 0; at < len(src); {
		piece, ok := s.ring.take(len(src) - at)
		if !ok {
			return
		}
		n := copy(piece, src[at:])
		s.check(s.dev.cuda.MemcpyHtoDAsync(addressOf(dst)+uint64(at), unsafe.Pointer(&piece[0]), n, s.handle),
			func() string { return fmt.Sprintf("upload of %v", dst) })
		at += n
	}
}

// Download copies src to pinned memory, and from there when the host has waited for it; see
// device.Stream.
func (s *Stream) Download(dst []byte, src *tensor.Tensor) {
	s.usable()
	if s.uncaptured(func() string { return fmt.Sprintf("download of %v", src) }) {
		return
	}
	if len(dst) != src.Bytes() {
		panic(fmt.Sprintf("cuda: download of %v (%d bytes) to %d bytes", src, src.Bytes(), len(dst)))
	}
	for at := 0; at < len(dst); {
		piece, ok := s.ring.take(len(dst) - at)
		if !ok {
			return
		}
		s.check(s.dev.cuda.MemcpyDtoHAsync(unsafe.Pointer(&piece[0]), addressOf(src)+uint64(at), len(piece), s.handle),
			func() string { return fmt.Sprintf("download of %v", src) })
		s.ring.fetch(dst[at:at+len(piece)], piece)
		at += len(piece)
	}
}

// Record marks the work enqueued so far; see device.Stream.
func (s *Stream) Record() device.Event {
	s.usable()
	s.readFault()
	e := &event{on: s}
	r := s.dev.events.take(e)
	if r == api.CUDA_SUCCESS {
		r = s.dev.cuda.EventRecord(e.handle, s.handle)
	}
	if r != api.CUDA_SUCCESS {
		s.fail(s.dev.failure("cuEventRecord on stream "+s.name, r))
		s.mu.Lock()
		e.failed = s.err
		s.mu.Unlock()
		return e
	}
	e.behind = s.sources()
	return e
}

// sources are what stands before the stream's next work.
func (s *Stream) sources() sources {
	s.mu.Lock()
	defer s.mu.Unlock()
	fetched := s.ring.count()
	if s.before != nil && s.before[s] == fetched {
		return s.before
	}
	s.before = make(sources, len(s.behind)+1)
	maps.Copy(s.before, s.behind)
	s.before[s] = fetched
	return s.before
}

// Wait holds later work until ev; see device.Stream.
func (s *Stream) Wait(ev device.Event) {
	s.usable()
	e := ev.(*event)
	if e.failed != nil {
		s.fail(e.failed)
		return
	}
	s.check(s.dev.cuda.StreamWaitEvent(s.handle, e.handle, 0), func() string { return "wait for stream " + e.on.name })
	s.mu.Lock()
	defer s.mu.Unlock()
	for from, n := range e.behind {
		if known, ok := s.behind[from]; from != s && (!ok || known < n) {
			s.behind[from] = n
			s.before = nil
		}
	}
}

// Sync waits for the stream; see device.Stream. The error is returned once.
func (s *Stream) Sync() error {
	if s.uncaptured(func() string { return "wait of the host" }) {
		return errCaptured
	}
	s.readFault()
	if r := s.dev.cuda.StreamSynchronize(s.handle); r != api.CUDA_SUCCESS {
		s.fail(s.dev.failure("cuStreamSynchronize "+s.name, r))
	}
	err := s.arrive(s.sources())
	s.mu.Lock()
	s.err = nil
	s.behind, s.before = sources{}, nil // all of that is over
	s.mu.Unlock()
	s.forget(err)
	return err
}

// arrive is what the host does when it has waited for a point: downloads before it go where they
// belong, and errors of streams before it become this stream's.
func (s *Stream) arrive(before sources) error {
	for from, n := range before {
		from.ring.deliver(n)
		if err := from.faulted(); err != nil {
			s.fail(err)
		}
		if from != s {
			from.mu.Lock()
			err := from.err
			from.mu.Unlock()
			if err != nil {
				s.fail(err)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// usable panics once the device is closed.
func (s *Stream) usable() {
	if s.closed {
		panic(fmt.Sprintf("cuda: stream %q is used after its device was closed", s.name))
	}
}

func (s *Stream) close() {
	s.closed = true
	s.dev.cuda.StreamDestroy(s.handle)
	s.ring.close()
	if s.noted != nil {
		s.dev.cuda.MemFreeHost(unsafe.Pointer(&s.noted[0]))
	}
}
