// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"fmt"
	"runtime"

	"octet/device"
	"octet/device/cuda/api"
	"octet/tensor"
)

var _ device.NativeStream = (*Stream)(nil)

// Native has another library enqueue work; see device.NativeStream. The queue is a CUstream.
func (s *Stream) Native(what string, f func(queue uintptr) error) {
	s.usable()
	s.mu.Lock()
	failed := s.err != nil
	s.mu.Unlock()
	if failed {
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var current uintptr
	if r := s.dev.cuda.CtxGetCurrent(&current); r != api.CUDA_SUCCESS { // entered by the call itself
		s.fail(s.dev.failure(what+" on stream "+s.name, r))
		return
	}
	if err := f(s.handle); err != nil {
		s.fail(fmt.Errorf("%s: %w", what, err))
	}
	s.marked()
}

// Address is where t begins, as the device counts; see device.NativeStream.
func (s *Stream) Address(t *tensor.Tensor) uintptr { return uintptr(addressOf(t)) }

// Fail makes err the stream's error, unless it has one; see device.NativeStream.
func (s *Stream) Fail(err error) { s.fail(err) }
