// SPDX-License-Identifier: Apache-2.0

// Package cuda computes on NVIDIA GPUs: device.Kernels over the functions of the folder
// kernels. A method checks shapes and launches one or a few of them; what they are given
// says what they touch.
package cuda

import (
	"fmt"
	"math"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// engine is what kernels are launched on: a stream of the driver.
type engine interface {
	// launch enqueues l, which is filled anew once it has returned.
	launch(l *launch)
	// Upload is device.Stream's.
	Upload(dst *tensor.Tensor, src []byte)
	// constant uploads what stays as it is, while the stream is captured as well; lasting reports
	// whether launches of what is enqueued now may come at any later time.
	constant(dst *tensor.Tensor, src []byte)
	lasting() bool
}

// addressed is memory of a GPU: every buffer that its kernels are given.
type addressed interface{ Address() uint64 }

// launch is a kernel with its arguments, on its way to the driver.
type launch struct {
	kernel              kernel
	grid, block, shared uint32 // blocks, threads of each, bytes of dynamic shared memory
	args                [maxArguments]argument
	n                   int // of arguments
}

// argument is one, of which a kernel reads as many bytes as it declares.
type argument [2]uint64

const maxArguments = 24

// kernels implements device.Kernels over an engine. The grid of most is what fills the
// device once; blocks go over the work in strides.
type kernels struct {
	engine
	pool       *device.Pool // of the stream
	processors int          // of the device
	l          launch       // the one that is made
	slots      [numSlots]*tensor.Tensor
	tables     map[uint64][]listed
	fault      *tensor.Tensor // int32 [faultWords]: the first id that was out of range
}

// slot is scratch memory that a kernel keeps for the next one.
type slot int

const (
	slotPartial slot = iota // sums of blocks
	slotRows                // a number a row
	slotKeys                // what is sorted
	slotSorted
	slotSeen
	slotCoef
	slotProduct
	numSlots
)

// newKernels is for one stream, whose memory pool gives.
func newKernels(e engine, pool *device.Pool, processors int) *kernels {
	k := &kernels{engine: e, pool: pool, processors: processors, tables: map[uint64][]listed{}}
	k.fault = pool.New(dtype.Int32, faultWords)
	k.Zero(k.fault)
	return k
}

// reserve leaves all memory that kernels keep to whoever may launch again what has been enqueued, and has the next ones take other, until
// it is released.
func (k *kernels) reserve() (release func()) {
	pools := []func(){k.pool.Reserve(), k.pool.Lasting().Reserve()}
	slots, tables := k.slots, k.tables
	k.slots, k.tables = [numSlots]*tensor.Tensor{}, map[uint64][]listed{}
	return func() {
		for _, held := range slots {
			k.pool.Free(held)
		}
		for _, list := range tables {
			for _, t := range list {
				k.pool.Lasting().Free(t.memory)
			}
		}
		for _, release := range pools {
			release()
		}
	}
}

// begin starts a launch.
func (k *kernels) begin(which kernel) *launch {
	k.l.kernel, k.l.block, k.l.grid, k.l.shared, k.l.n = which, which.threads(), 0, 0, 0
	return &k.l
}

func (l *launch) add(lo, hi uint64) *launch {
	l.args[l.n] = argument{lo, hi}
	l.n++
	return l
}

// The lower bits of a tensor's second word are its type, and whether it is written.
const (
	writtenBit   = 1 << 8
	elementShift = 16
)

// addressOf is where t is, which no pool may have back: that work in flight may still use it is no leave to enqueue more.
func addressOf(t *tensor.Tensor) uint64 {
	if b, ok := t.Buf.(interface{ Idle() bool }); ok && b.Idle() {
		panic(fmt.Sprintf("cuda: %v is used after its pool has it back", t))
	}
	return t.Buf.(addressed).Address() + uint64(t.Off)
}

func wordsOf(t *tensor.Tensor, written uint64) (lo, hi uint64) {
	if t == nil {
		return 0, 0
	}
	return addressOf(t), uint64(t.Type) | written | uint64(t.Numel())<<elementShift
}

// src is a tensor that the kernel reads, dst one that it writes; either may be nil.
func (l *launch) src(t *tensor.Tensor) *launch { return l.add(wordsOf(t, 0)) }
func (l *launch) dst(t *tensor.Tensor) *launch { return l.add(wordsOf(t, writtenBit)) }

func (l *launch) u32(n int) *launch     { return l.add(uint64(uint32(n)), 0) }
func (l *launch) u64(n int) *launch     { return l.add(uint64(n), 0) }
func (l *launch) f32(f float32) *launch { return l.add(uint64(math.Float32bits(f)), 0) }
func (l *launch) bool(b bool) *launch {
	if b {
		return l.u32(1)
	}
	return l.u32(0)
}

// fills is how many blocks of 256 threads a processor holds, about.
const fills = 8

// over launches as many blocks as n pieces of work need, and no more than fill the
// device; without work nothing.
func (k *kernels) over(l *launch, n int) {
	if n > 0 {
		l.grid = uint32(min(n, max(1, k.processors*fills*256/int(l.block))))
		k.launch(l)
	}
}

// each launches over n elements, of which a thread takes some at a time.
func (k *kernels) each(l *launch, n, some int) { k.over(l, count(n, some*int(l.block))) }

// once launches one block.
func (k *kernels) once(l *launch) {
	l.grid = 1
	k.launch(l)
}

// blocks launches exactly n.
func (k *kernels) blocks(l *launch, n int) {
	if n > 0 {
		l.grid = uint32(n)
		k.launch(l)
	}
}

// scratch is memory of the stream that is free again when the work it is for is behind
// the next that takes the slot.
func (k *kernels) scratch(in slot, t dtype.Type, n int) *tensor.Tensor {
	bytes := max(1, n) * t.Size()
	if held := k.slots[in]; held == nil || held.Buf.Len() < bytes {
		k.pool.Free(held)
		k.slots[in] = k.pool.New(dtype.Uint8, bytes)
	}
	if held := k.slots[in]; held.Type != t || held.Numel() != n {
		k.slots[in] = tensor.New(held.Buf, t, n)
	}
	return k.slots[in]
}

// count is the number of pieces of size that cover n.
func count(n, size int) int { return (n + size - 1) / size }
