// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"unsafe"

	"octet/device/cuda/api"
)

// A kernel that meets an id out of range goes on with NaN, and notes it in words of its
// stream (kernels.fault). Before a point that the host may wait for they are copied to
// pinned memory, where the host looks once it has waited.

const faultBytes = 4 * faultWords

// readFault enqueues the copy, if anything was checked since the last.
func (s *Stream) readFault() {
	if !s.checked || s.lasting() { // what a graph has checked is read behind its launch
		return
	}
	s.checked = false
	if s.noted == nil {
		s.dev.quiet()
		var p unsafe.Pointer
		if r := s.dev.cuda.MemHostAlloc(&p, faultBytes, 0); r != api.CUDA_SUCCESS {
			s.fail(s.dev.failure("cuMemHostAlloc of a stream's fault", r))
			return
		}
		s.mu.Lock()
		s.noted = unsafe.Slice((*byte)(p), faultBytes)
		clear(s.noted)
		s.mu.Unlock()
	}
	s.check(s.dev.cuda.MemcpyDtoHAsync(unsafe.Pointer(&s.noted[0]), addressOf(s.fault), faultBytes, s.handle), func() string { return "download of the fault" })
}

// faulted is the fault that was copied last, as far as the host has waited.
func (s *Stream) faulted() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.noted == nil {
		return nil
	}
	return faultOf(s.noted)
}

// forget ends an error that Sync returns: it is the error of all that waited for this
// stream since, and no longer its own.
func (s *Stream) forget(err error) {
	if err == nil {
		return
	}
	s.dev.mu.Lock()
	streams := s.dev.streams
	s.dev.mu.Unlock()
	for _, other := range streams {
		other.mu.Lock()
		if _, waited := other.behind[s]; waited && other.err == nil {
			other.err = err
		}
		other.mu.Unlock()
	}
	if s.faulted() != nil {
		clear(s.noted)
		s.Zero(s.fault)
	}
}
