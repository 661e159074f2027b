// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"octet/tensor"
)

// Buffer is memory outside the Go heap, so that C may keep pointers to it and
// the garbage collector never scans it.
type Buffer struct {
	mem []byte
	len int
}

const hugePage = 2 << 20

func newBuffer(n int) (*Buffer, error) {
	if n < 0 {
		return nil, fmt.Errorf("cpu: alloc of %d bytes", n)
	}
	mem, err := unix.Mmap(-1, 0, max(n, 1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("cpu: alloc of %d bytes: %w", n, err)
	}
	if n >= hugePage {
		askForHugePages(mem)
	}
	return &Buffer{mem: mem, len: n}, nil
}

// Len is the size in bytes.
func (b *Buffer) Len() int { return b.len }

func (b *Buffer) unmap() {
	if b.mem != nil {
		_ = unix.Munmap(b.mem)
		b.mem = nil
	}
}

// raw is the memory of t.
func raw(t *tensor.Tensor) []byte {
	return t.Buf.(*Buffer).mem[t.Off : t.Off+t.Bytes()]
}

// ptr is the address of t's first element.
func ptr(t *tensor.Tensor) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(raw(t))) }

// as is the memory of t as elements of type T, whose size must be t's.
func as[T any](t *tensor.Tensor) []T {
	return unsafe.Slice((*T)(ptr(t)), t.Numel())
}

func f32s(t *tensor.Tensor) []float32 { return as[float32](t) }
func i32s(t *tensor.Tensor) []int32   { return as[int32](t) }
