// SPDX-License-Identifier: Apache-2.0

package commtest

import (
	"unsafe"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// Stream is a device.HostStream that can only Call: enough to test
// communicators without a device.
type Stream struct {
	device.Kernels
	queue chan func()
	err   error // of the goroutine that runs the queue
}

var _ device.HostStream = (*Stream)(nil)

// NewStream starts a stream; Close ends it.
func NewStream() *Stream {
	s := &Stream{queue: make(chan func(), 1024)}
	go func() {
		for f := range s.queue {
			f()
		}
	}()
	return s
}

// Close ends the stream's goroutine once the queue is empty.
func (s *Stream) Close() { close(s.queue) }

// Call implements device.HostStream.
func (s *Stream) Call(_ string, f func() error) {
	s.queue <- func() {
		if s.err == nil {
			s.err = f()
		}
	}
}

// Bytes implements device.HostStream.
func (s *Stream) Bytes(t *tensor.Tensor) []byte {
	return Data(t)
}

// Copy implements device.Kernels for equal types.
func (s *Stream) Copy(dst, src *tensor.Tensor) {
	s.queue <- func() { copy(s.Bytes(dst), s.Bytes(src)) }
}

// Upload implements device.Stream.
func (s *Stream) Upload(dst *tensor.Tensor, src []byte) {
	src = append([]byte(nil), src...)
	s.queue <- func() { copy(s.Bytes(dst), src) }
}

// Download implements device.Stream.
func (s *Stream) Download(dst []byte, src *tensor.Tensor) {
	s.queue <- func() { copy(dst, s.Bytes(src)) }
}

type event chan struct{}

func (e event) Done() bool {
	select {
	case <-e:
		return true
	default:
		return false
	}
}

func (e event) Sync() error {
	<-e
	return nil
}

// Record implements device.Stream.
func (s *Stream) Record() device.Event {
	e := make(event)
	s.queue <- func() { close(e) }
	return e
}

// Wait implements device.Stream.
func (s *Stream) Wait(e device.Event) { s.queue <- func() { <-e.(event) } }

// Sync implements device.Stream.
func (s *Stream) Sync() error {
	result := make(chan error, 1)
	s.queue <- func() {
		result <- s.err
		s.err = nil
	}
	return <-result
}

// memory is a buffer aligned to 64 bytes.
type memory struct{ bytes []byte }

func (m *memory) Len() int { return len(m.bytes) }

// New makes a tensor of zeros.
func New(t dtype.Type, shape ...int) *tensor.Tensor {
	n := t.Size()
	for _, d := range shape {
		n *= d
	}
	b := make([]byte, n+64)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) % 64)
	return tensor.New(&memory{b[skip : skip+n : skip+n]}, t, shape...)
}

// Data is the memory of a tensor made by New.
func Data(t *tensor.Tensor) []byte { return t.Buf.(*memory).bytes[t.Off : t.Off+t.Bytes()] }
