// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import "octet/device/cuda/api"

// What loads a kernel, or takes or gives back memory, may wait for all that the GPU is at. A
// collective that is in its queues waits for the other ranks, one of which may wait for this one: none
// of them would go on. So whatever may wait like that first lets the collectives end which
// this rank has enqueued. Nothing hangs by that: all ranks enqueue the same ones in one order, so of
// ranks that wait here the one that has come the least far waits for none that another has yet to
// enqueue. It happens where memory, a product or a way to stage it is new, so in the first steps.

// marked notes that work of another library was enqueued.
func (s *Stream) marked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dev
	if c := d.capturing; c != nil {
		c.foreign = true // it runs at a launch
		return
	}
	if s.native == nil {
		e := &event{on: s}
		if r := d.events.take(e); r != api.CUDA_SUCCESS {
			s.setFailed(d.failure("cuEventCreate on stream "+s.name, r))
			return
		}
		s.native = e
	}
	if r := d.cuda.EventRecord(s.native.handle, s.handle); r != api.CUDA_SUCCESS {
		s.setFailed(d.failure("cuEventRecord on stream "+s.name, r))
	}
	s.foreign = true
}

// quiet waits until no work of other libraries is left on the device's streams.
func (d *Device) quiet() {
	d.mu.Lock()
	streams := d.streams
	d.mu.Unlock()
	for _, s := range streams {
		s.mu.Lock()
		e := s.native
		if !s.foreign {
			e = nil
		}
		s.foreign = false
		s.mu.Unlock()
		if e == nil {
			continue
		}
		if r := d.cuda.EventSynchronize(e.handle); r != api.CUDA_SUCCESS {
			s.fail(d.failure("cuEventSynchronize on stream "+s.name, r))
		}
	}
}
