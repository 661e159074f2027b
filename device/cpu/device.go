// SPDX-License-Identifier: Apache-2.0

// Package cpu is the processor as a device: memory off the Go heap, streams
// that run on their own goroutines, and kernels in C beside portable Go
// functions that are their oracle and, without cgo, their replacement.
//
//	dev, err := cpu.Open(cpu.Options{Threads: 2})
//	defer dev.Close()
//	s := dev.NewStream("compute")
//	pool := device.NewPool(dev)
//	y := pool.New(dtype.Float32, 64, 64)
//	s.MatMul(y, tensor.Operand{Tensor: x}, tensor.Operand{Tensor: w}, device.MatMulOptions{TransB: true})
//	err = s.Sync()
//
// The instruction set is chosen when the device is opened; OCTET_CPU_ISA
// forces one (portable, avx2, avx512, avx512fp16, avx512bf16, amxbf16).
//
// A kernel is a method of Stream that checks shapes at the call and, when its
// turn comes, cuts its work into pieces for the threads. What runs on a piece
// is a function of the device's table: Go beside the method, or C in
// simd_*.h, one source compiled for vectors of 8 floats (simd_avx2.c) and of
// 16 (simd_avx512.c). MatMul has tables of its own, because its best
// arithmetic unit differs per processor. Pieces depend on shapes alone and
// partial sums are added in their order, so results do not depend on threads;
// those of two instruction sets differ by rounding, except that casts, copies
// and amaxes are the same bits on all.
package cpu

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"octet/device"
	"octet/internal/arena"
	"octet/tensor"
)

// Options of a CPU device.
type Options struct {
	// Threads is how many threads a kernel uses; 0 means one.
	Threads int
	// ISA forces an instruction set; empty takes OCTET_CPU_ISA, then the best.
	ISA string
	// Float8TN refuses matmuls of float8 whose summed dimension is not contiguous,
	// as most GPUs do, so that the data path of those runs here too.
	Float8TN bool
	// Arena is where tensors' memory is, so that other processes of the host may read it; nil: memory of
	// this process alone. It must stay open as long as the device.
	Arena *arena.Arena
}

// Device is the processor. It implements device.Device.
type Device struct {
	isa      ISA
	table    *table
	threads  int
	float8TN bool
	arena    *arena.Arena

	mu      sync.Mutex
	streams []*Stream
	buffers map[*Buffer]struct{}
}

var _ device.Device = (*Device)(nil)

// Open makes a device. It fails if the forced instruction set is unknown or
// not there.
func Open(o Options) (*Device, error) {
	name, from := o.ISA, ""
	if name == "" {
		name, from = os.Getenv("OCTET_CPU_ISA"), "OCTET_CPU_ISA="
	}
	isa, err := chooseISA(name)
	if err != nil {
		return nil, fmt.Errorf("cpu: %s%w", from, err)
	}
	return &Device{isa: isa, table: tableOf(isa), threads: max(1, o.Threads), float8TN: o.Float8TN, arena: o.Arena, buffers: map[*Buffer]struct{}{}}, nil
}

// Name is such as "cpu (avx512bf16, 2 threads)".
func (d *Device) Name() string { return fmt.Sprintf("cpu (%v, %d threads)", d.isa, d.threads) }

// ISA is the instruction set the kernels use.
func (d *Device) ISA() ISA { return d.isa }

// Portable reports whether the portable Go kernels run, and why.
func (d *Device) Portable() (yes bool, why string) {
	switch {
	case d.isa != Portable:
		return false, ""
	case !haveC:
		return true, "octet was built without a C compiler"
	case len(available()) > 1:
		return true, "OCTET_CPU_ISA asks for them"
	}
	return true, "the processor has neither AVX-512 nor AVX2"
}

// Alloc maps fresh memory.
func (d *Device) Alloc(bytes int) (tensor.Buffer, error) {
	b, err := newBuffer(bytes, d.arena)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.buffers[b] = struct{}{}
	d.mu.Unlock()
	return b, nil
}

// Free unmaps memory that Alloc returned. No stream may use it any more.
func (d *Device) Free(buf tensor.Buffer) {
	b := buf.(*Buffer)
	d.mu.Lock()
	delete(d.buffers, b)
	d.mu.Unlock()
	b.unmap()
}

// NewStream starts a stream.
func (d *Device) NewStream(name string) device.Stream {
	s := newStream(d, name)
	d.mu.Lock()
	d.streams = append(d.streams, s)
	d.mu.Unlock()
	return s
}

// Close waits for the streams, ends them and unmaps all memory. It returns
// the errors that no Sync has returned yet.
func (d *Device) Close() error {
	d.mu.Lock()
	streams, buffers := d.streams, d.buffers
	d.streams, d.buffers = nil, map[*Buffer]struct{}{}
	d.mu.Unlock()
	var errs []error
	for _, s := range streams {
		errs = append(errs, s.close())
	}
	for b := range buffers {
		b.unmap()
	}
	return errors.Join(errs...)
}
