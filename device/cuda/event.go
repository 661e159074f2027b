// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"runtime"
	"sync"

	"octet/device/cuda/api"
)

// event is a point of a stream. It implements device.Event.
type event struct {
	handle uintptr
	on     *Stream
	behind sources // what stands before it, its own stream's work included
	failed error   // it could not be recorded
}

// sources are the streams whose work is before a point, and how much of what each downloads.
type sources map[*Stream]uint64

// Done reports whether the work before the event has run.
func (e *event) Done() bool {
	return e.failed != nil || e.on.dev.cuda.EventQuery(e.handle) != api.CUDA_ERROR_NOT_READY
}

// Sync waits for the event; see device.Event.
func (e *event) Sync() error {
	if e.failed != nil {
		return e.failed
	}
	d := e.on.dev
	if r := d.cuda.EventSynchronize(e.handle); r != api.CUDA_SUCCESS {
		e.on.fail(d.failure("cuEventSynchronize on stream "+e.on.name, r))
	}
	return e.on.arrive(e.behind)
}

// events are a device's that nobody holds any more, to be recorded again.
type events struct {
	cuda  *api.CUDA
	flags uint32 // of cuEventCreate

	mu     sync.Mutex
	free   []uintptr
	all    []uintptr
	closed bool
}

// take is an event that Go holds as e.
func (p *events) take(e *event) api.Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		e.handle, p.free = p.free[n-1], p.free[:n-1]
	} else if r := p.cuda.EventCreate(&e.handle, p.flags); r != api.CUDA_SUCCESS {
		return r
	} else {
		p.all = append(p.all, e.handle)
	}
	runtime.AddCleanup(e, p.put, e.handle)
	return api.CUDA_SUCCESS
}

func (p *events) put(handle uintptr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.free = append(p.free, handle)
	}
}

func (p *events) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, e := range p.all {
		p.cuda.EventDestroy(e)
	}
}
