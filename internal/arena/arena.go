// SPDX-License-Identifier: Apache-2.0

// Package arena is memory of a process that others of its host may read: a device
// allocates tensors there, and other ranks map it, so that no message
// has to be copied into memory that both have.
//
//	a, err := arena.New()       // in one process
//	b, err := a.Alloc(1 << 20)
//	m, err := arena.Open(a.ID()) // in another
//	m.At(offset, 1<<20)         // reads b, where offset, _ = a.Offset(b)
//
// The memory is a file without a name that never shrinks: it lasts as long as somebody maps it, so
// whatever becomes of a process, reading its memory is no fault. What was freed reads as zeros. Pages
// are joined to huge ones where the system can do it.
package arena

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"
)

// ErrFull is the error of Alloc when the arena has no room left, although there may be memory.
var ErrFull = errors.New("arena: full")

// Arena is memory that this process writes.
type Arena struct {
	file *os.File
	room []byte // addresses around mem
	mem  []byte // of it, only what is allocated takes memory

	joins  sync.WaitGroup
	joiner sync.Mutex // of pages, one at a time
	closed atomic.Bool

	mu   sync.Mutex
	next int           // what lies behind was never allocated
	free map[int][]int // offsets of what was freed, by size
}

// ID is by what other processes of the host find an arena.
type ID struct {
	Pid, FD int
	Bytes   int
}

// ID of the arena.
func (a *Arena) ID() ID { return ID{os.Getpid(), int(a.file.Fd()), len(a.mem)} }

// Alloc returns n bytes that hold zeros, or an error if the machine has no memory for them; ErrFull if the arena has no room.
func (a *Arena) Alloc(n int) ([]byte, error) {
	size := pages(n)
	a.mu.Lock()
	at, fresh := a.next, false
	if list := a.free[size]; len(list) > 0 {
		at, a.free[size] = list[len(list)-1], list[:len(list)-1]
	} else if size > len(a.mem)-a.next {
		a.mu.Unlock()
		return nil, ErrFull
	} else {
		a.next += size
		fresh = true
	}
	a.mu.Unlock()
	if err := reserve(a.file, at, size); err != nil {
		a.giveBack(at, size)
		return nil, fmt.Errorf("arena: %d bytes: %w", n, err)
	}
	if end := hugePages(at + size); fresh && end > hugePages(at) {
		a.joins.Go(func() { a.join(hugePages(at), end) })
	}
	return a.mem[at : at+n : at+size], nil
}

// join makes huge pages of a range that is allocated. The system takes milliseconds for each, most of which it waits, and
// what the pages hold is read and written meanwhile.
func (a *Arena) join(from, to int) {
	a.joiner.Lock()
	defer a.joiner.Unlock()
	for ; from < to && !a.closed.Load(); from += hugePage {
		joinPages(a.mem[from : from+hugePage])
	}
}

// Free takes back what Alloc returned. Who reads it still finds zeros.
func (a *Arena) Free(b []byte) {
	at, size := int(addr(b)-addr(a.mem)), pages(len(b))
	release(a.file, at, size)
	a.giveBack(at, size)
}

func (a *Arena) giveBack(at, size int) {
	a.mu.Lock()
	a.free[size] = append(a.free[size], at)
	a.mu.Unlock()
}

// Offset is where in the arena b lies; it reports whether it does.
func (a *Arena) Offset(b []byte) (at int, ok bool) {
	off := addr(b) - addr(a.mem)
	return int(off), off < uintptr(len(a.mem)) && uintptr(len(b)) <= uintptr(len(a.mem))-off
}

// Close gives the memory up, as far as this process is concerned.
func (a *Arena) Close() error {
	a.closed.Store(true)
	a.joins.Wait()
	return errors.Join(unmap(a.room), a.file.Close())
}

// Map is another process's arena, to be read.
type Map struct{ room, mem []byte }

// At is n bytes of the arena; it reports whether they are there.
func (m *Map) At(offset, n uint64) ([]byte, bool) {
	size := uint64(len(m.mem))
	if offset > size || n > size-offset {
		return nil, false
	}
	return m.mem[offset : offset+n], true
}

// Close unmaps it.
func (m *Map) Close() error { return unmap(m.room) }

const (
	page     = 4 << 10
	hugePage = 2 << 20
)

// hugePages is n rounded down to whole huge pages.
func hugePages(n int) int { return n &^ (hugePage - 1) }

// pages is n rounded up to whole pages, of which there is at least one.
func pages(n int) int { return max(n+page-1, page) &^ (page - 1) }

func addr(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
