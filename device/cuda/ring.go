// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"sync"
	"unsafe"

	"octet/device/cuda/api"
)

// ring is pinned memory of a stream, by way of which the host's goes to the device and back:
// copies of other memory hold the host up. A slot is taken in pieces, and again once the
// stream is through with it.
type ring struct {
	s     *Stream
	slots [4]ringSlot
	at    int

	mu      sync.Mutex
	fetched uint64  // pieces that were downloaded
	waiting []fetch // those that the host has not waited for, in their order
}

// slotBytes is the memory of a slot.
const slotBytes = 16 << 20

type ringSlot struct {
	mem  []byte
	used int
	left *event // when the stream is through with it; nil: it never was full
}

// fetch is a piece on its way to the host's memory.
type fetch struct {
	number   uint64
	dst, src []byte
}

// take is pinned memory for at most n bytes; without any the stream has an error.
func (r *ring) take(n int) ([]byte, bool) {
	slot := &r.slots[r.at]
	if free := len(slot.mem) - slot.used; slot.mem != nil && free < min(n, 1<<20) {
		slot.left, _ = r.s.Record().(*event)
		r.at = (r.at + 1) % len(r.slots)
		slot = &r.slots[r.at]
		if slot.left != nil {
			_ = slot.left.Sync() // what it says stays with the stream
			slot.left, slot.used = nil, 0
		}
	}
	if slot.mem == nil {
		r.s.dev.quiet()
		var p unsafe.Pointer
		if result := r.s.dev.cuda.MemHostAlloc(&p, slotBytes, 0); result != api.CUDA_SUCCESS {
			r.s.fail(r.s.dev.failure("cuMemHostAlloc of a staging buffer", result))
			return nil, false
		}
		slot.mem = unsafe.Slice((*byte)(p), slotBytes)
	}
	n = min(n, len(slot.mem)-slot.used)
	piece := slot.mem[slot.used : slot.used+n]
	slot.used = min(len(slot.mem), (slot.used+n+63)&^63)
	return piece, true
}

// fetch has a downloaded piece copied to dst when the host has waited for it.
func (r *ring) fetch(dst, piece []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetched++
	r.waiting = append(r.waiting, fetch{r.fetched, dst, piece})
}

// count is how many pieces were downloaded so far.
func (r *ring) count() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fetched
}

// deliver copies all pieces up to a number, which the stream has written.
func (r *ring) deliver(number uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for n < len(r.waiting) && r.waiting[n].number <= number {
		copy(r.waiting[n].dst, r.waiting[n].src)
		n++
	}
	clear(r.waiting[:n])
	r.waiting = append(r.waiting[:0], r.waiting[n:]...)
}

func (r *ring) close() {
	for _, slot := range r.slots {
		if slot.mem != nil {
			r.s.dev.cuda.MemFreeHost(unsafe.Pointer(&slot.mem[0]))
		}
	}
}
