// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"fmt"
	"math"
	"time"

	"octet/device"
	"octet/device/cuda/api"
)

var _ device.TimedStream = (*Stream)(nil)

// stamp is an event with a time. It implements device.Stamp.
type stamp struct{ event }

// Stamp marks a point of the stream to have its time; see device.TimedStream. The driver's clock
// counts in steps of half a microsecond or so.
func (s *Stream) Stamp() device.Stamp {
	s.usable()
	if s.uncaptured(func() string { return "time" }) {
		return nil
	}
	s.mu.Lock()
	failed := s.err != nil
	s.mu.Unlock()
	if failed {
		return nil
	}
	e := &stamp{event{on: s}}
	r := s.dev.stamps.take(&e.event)
	if r == api.CUDA_SUCCESS {
		r = s.dev.cuda.EventRecord(e.handle, s.handle)
	}
	if r != api.CUDA_SUCCESS {
		s.fail(s.dev.failure("cuEventRecord of a time on stream "+s.name, r))
		return nil
	}
	return e
}

// Sync waits for the stamp; see device.Stamp. Errors stay with the stream.
func (e *stamp) Sync() error {
	if r := e.on.dev.cuda.EventSynchronize(e.handle); r != api.CUDA_SUCCESS {
		return e.on.dev.failure("cuEventSynchronize on stream "+e.on.name, r)
	}
	return nil
}

// Since is the time between two stamps; see device.Stamp.
func (e *stamp) Since(earlier device.Stamp) (time.Duration, error) {
	var ms float32
	if r := e.on.dev.cuda.EventElapsedTime(&ms, earlier.(*stamp).handle, e.handle); r != api.CUDA_SUCCESS {
		return 0, fmt.Errorf("cuda: cuEventElapsedTime on stream %s: %s", e.on.name, resultText(e.on.dev.cuda, r))
	}
	return time.Duration(math.Round(float64(ms) * 1e6)), nil
}
