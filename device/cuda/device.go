// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"octet/device"
	"octet/device/cuda/api"
	"octet/device/cuda/gemm"
	"octet/tensor"
)

// Device is a GPU. It implements device.Device.
type Device struct {
	cuda      *api.CUDA // in the device's context
	context   uintptr
	ordinal   int
	info      Info
	functions [numKernels]uintptr
	wide      [numKernels]atomic.Bool // may have all the shared memory there is
	modules   []uintptr
	least     int // priorities of streams: what computes, and what others wait for
	greatest  int
	sync      bool // after each call, to name the one that fails
	trace     *trace
	products  *gemm.Library // nil: octet's own kernels make them
	warning   string
	events    events
	stamps    events // with times

	capturing *Graph  // what is written down; nil: work runs
	aside     *Stream // of constants that are needed meanwhile; nil before there was one

	mu      sync.Mutex
	dead    error // what ended the context
	streams []*Stream
	memory  map[*Buffer]struct{}
	graphs  map[*Graph]struct{}
}

var _ device.Device = (*Device)(nil)

// Open opens a GPU. Its errors are the user's: there is no driver, it is too old, there
// are fewer GPUs, or this one is none for octet.
func Open(o Options) (*Device, error) {
	lib, err := openDriver(o.search())
	if err != nil {
		return nil, err
	}
	info, err := describe(lib, o.Ordinal)
	if err != nil {
		return nil, err
	}
	d := &Device{ordinal: o.Ordinal, info: info, memory: map[*Buffer]struct{}{}, graphs: map[*Graph]struct{}{}, sync: o.search().Getenv("OCTET_CUDA_SYNC") == "1"}
	if path := o.search().Getenv("OCTET_CUDA_TRACE"); path != "" {
		if d.trace, err = openTrace(path); err != nil {
			return nil, err
		}
		lib.Trace(d.trace.line)
	}
	if err := d.start(lib, o); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// start makes the context and loads all kernels: one that is loaded at its first launch
// may wait for a collective that waits for it.
func (d *Device) start(lib *api.CUDA, o Options) error {
	flags := uint32(api.CU_CTX_SCHED_AUTO)
	if o.BlockingSync {
		flags = api.CU_CTX_SCHED_BLOCKING_SYNC
	}
	d.cuda = lib
	if r := lib.DevicePrimaryCtxSetFlags(d.ordinal, flags); r != api.CUDA_SUCCESS {
		return d.failure("cuDevicePrimaryCtxSetFlags", r)
	}
	if r := lib.DevicePrimaryCtxRetain(&d.context, d.ordinal); r != api.CUDA_SUCCESS {
		return d.failure("cuDevicePrimaryCtxRetain", r)
	}
	d.cuda = lib.In(d.context)
	d.events.cuda, d.stamps.cuda = d.cuda, d.cuda
	d.events.flags = api.CU_EVENT_DISABLE_TIMING
	var least, greatest int32
	if r := d.cuda.CtxGetStreamPriorityRange(&least, &greatest); r != api.CUDA_SUCCESS {
		return d.failure("cuCtxGetStreamPriorityRange", r)
	}
	d.least, d.greatest = int(least), int(greatest)
	if err := d.load(o.search().Getenv); err != nil {
		return err
	}
	return d.openProducts(lib, o.search())
}

// Name is such as "cuda:0 (NVIDIA H200, compute capability 9.0)".
func (d *Device) Name() string {
	return fmt.Sprintf("cuda:%d (%s, compute capability %s)", d.ordinal, d.info.Name, capabilityText(d.info.Capability))
}

// Info is what the driver says of the device.
func (d *Device) Info() Info { return d.info }

// Buffer is memory of a device.
type Buffer struct {
	address uint64
	bytes   int
	idle    bool // see device.Idler
}

// Len is the size in bytes.
func (b *Buffer) Len() int { return b.bytes }

// Address is where it begins, as the device counts.
func (b *Buffer) Address() uint64 { return b.address }

// SetIdle has work that is given the buffer panic, or not; Idle is which.
func (b *Buffer) SetIdle(idle bool) { b.idle = idle }
func (b *Buffer) Idle() bool        { return b.idle }

// Alloc takes memory of the device; that there is not enough is an error and nothing more.
func (d *Device) Alloc(bytes int) (tensor.Buffer, error) {
	d.quiet()
	b := &Buffer{bytes: bytes}
	switch r := d.cuda.MemAlloc(&b.address, max(bytes, 1)); r {
	case api.CUDA_SUCCESS:
	case api.CUDA_ERROR_OUT_OF_MEMORY:
		var free, total uint64
		d.cuda.MemGetInfo(&free, &total)
		return nil, fmt.Errorf("%s: no memory for %d bytes: %d of %d are free", d.Name(), bytes, free, total)
	default:
		return nil, d.failure(fmt.Sprintf("cuMemAlloc of %d bytes", bytes), r)
	}
	d.mu.Lock()
	d.memory[b] = struct{}{}
	d.mu.Unlock()
	return b, nil
}

// Free gives memory back. No stream may use it any more.
func (d *Device) Free(buf tensor.Buffer) {
	b := buf.(*Buffer)
	d.mu.Lock()
	_, held := d.memory[b]
	delete(d.memory, b)
	d.mu.Unlock()
	if held {
		d.quiet()
		d.cuda.MemFree(b.address) // what it says, a Sync has said
	}
}

// Memory is the bytes that are free, and all.
func (d *Device) Memory() (free, total int64) {
	var f, t uint64
	d.cuda.MemGetInfo(&f, &t)
	return int64(f), int64(t)
}

// NewStream makes a stream. What others wait for, that is all but "compute" and what
// nobody waits for, goes before what computes.
func (d *Device) NewStream(name string) device.Stream { return d.newStream(name) }

// Close waits for the streams and gives all memory back. It returns the errors that no Sync
// has returned yet.
func (d *Device) Close() error {
	d.mu.Lock()
	streams, memory, graphs := d.streams, d.memory, slices.Collect(maps.Keys(d.graphs))
	d.streams, d.memory = nil, map[*Buffer]struct{}{}
	d.mu.Unlock()
	var errs []error
	for _, s := range streams {
		errs = append(errs, s.Sync())
	}
	for _, g := range graphs {
		errs = append(errs, g.Close())
	}
	for _, s := range streams {
		s.close()
	}
	for b := range memory {
		d.cuda.MemFree(b.address)
	}
	if d.products != nil {
		errs = append(errs, d.products.Close())
	}
	d.events.close()
	d.stamps.close()
	for _, m := range d.modules {
		d.cuda.ModuleUnload(m)
	}
	d.cuda.DevicePrimaryCtxRelease(d.ordinal)
	return errors.Join(append(errs, d.trace.close())...)
}

// failure is the error of a call. One that ends the context is kept: whatever comes later
// fails with it.
func (d *Device) failure(what string, r api.Result) error {
	err := fmt.Errorf("cuda: %s: %s", what, resultText(d.cuda, r))
	if !sticky(r) {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead == nil {
		d.dead = fmt.Errorf("%w; the GPU's context is dead%s", err, adviceOn(r))
		return d.dead
	}
	return fmt.Errorf("%w (after %w)", err, d.dead)
}

// Options of a device.
type Options struct {
	Ordinal int // which of those that the driver shows
	// BlockingSync has the host sleep where it waits, for where there are no more cores
	// than ranks.
	BlockingSync bool
	// Search is where libraries are looked for; the zero value is the machine's.
	Search api.Search
}

func (o Options) search() api.Search {
	if o.Search.Getenv == nil {
		return api.System()
	}
	return o.Search
}
