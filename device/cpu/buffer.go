// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"octet/internal/arena"
	"octet/tensor"
)

// Buffer is memory outside the Go heap, so that C may keep pointers to it and
// the garbage collector never scans it.
type Buffer struct {
	mem   []byte
	len   int
	arena *arena.Arena // whose memory it is; nil: its own
}

const hugePage = 2 << 20

// newBuffer takes memory from a, if it is not nil and has room.
func newBuffer(n int, a *arena.Arena) (*Buffer, error) {
	if n < 0 {
		return nil, fmt.Errorf("cpu: alloc of %d bytes", n)
	}
	if a != nil {
		mem, err := a.Alloc(n)
		if err == nil {
			return &Buffer{mem, n, a}, nil
		}
		if !errors.Is(err, arena.ErrFull) {
			return nil, fmt.Errorf("cpu: %w", err)
		}
	}
	mem, err := unix.Mmap(-1, 0, max(n, 1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("cpu: alloc of %d bytes: %w", n, err)
	}
	if n >= hugePage {
		askForHugePages(mem)
	}
	return &Buffer{mem, n, nil}, nil
}

// Len is the size in bytes.
func (b *Buffer) Len() int { return b.len }

func (b *Buffer) unmap() {
	switch {
	case b.mem == nil:
	case b.arena != nil:
		b.arena.Free(b.mem)
	default:
		_ = unix.Munmap(b.mem)
	}
	b.mem = nil
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
