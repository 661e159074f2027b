// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"octet/comm"
)

// The page is memory that all ranks of one host share: whether the job was
// aborted, by whom and why, and which ranks have left.
//
//	0     state: 0, 1 while the cause is written, 2 once it may be read
//	4     rank that aborted
//	8     length of the text
//	12    text
//	4096  64 bytes per rank of the host: whether it has left; its bell, a counter
//	      of the times that it was asked to look at this page; another of those that
//	      it has looked
type page struct {
	me     int // index among the ranks of the host
	n      int // ranks of the host
	hushed atomic.Bool
	mu     sync.RWMutex
	mem    []byte // nil once closed
}

const (
	pageText    = 12
	pageRanks   = 4 << 10
	pageRank    = 64 // bytes per rank
	pageBell    = 8
	pageLooked  = 16
	pageWriting = 1
	pageWritten = 2
)

func pageBytes(ranks int) int { return pageRanks + ranks*pageRank }

func newPage(mem []byte, me, ranks int) *page { return &page{mem: mem, me: me, n: ranks} }

// bell is the bell of the rank at index i, looked what it has answered to.
func (p *page) bell(i int) counter   { return counterAt(p.mem, pageRanks+i*pageRank+pageBell) }
func (p *page) looked(i int) counter { return counterAt(p.mem, pageRanks+i*pageRank+pageLooked) }

// word is the counter at an offset of shared memory, a multiple of 4.
func word(mem []byte, at int) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&mem[at]))
}

// tell writes down an abort, unless another rank was first.
func (p *page) tell(e *comm.AbortError) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.mem == nil || !word(p.mem, 0).CompareAndSwap(0, pageWriting) {
		return
	}
	n := copy(p.mem[pageText:pageRanks], e.Err.Error())
	binary.LittleEndian.PutUint32(p.mem[4:], uint32(e.Rank))
	binary.LittleEndian.PutUint32(p.mem[8:], uint32(n))
	word(p.mem, 0).Store(pageWritten)
	for i := range p.n {
		p.bell(i).add()
	}
}

// listen answers the bell until a rank has aborted, or hush; asked is called before
// it answers.
func (p *page) listen(asked func()) {
	bell, looked := p.bell(p.me), p.looked(p.me)
	for heard := uint32(0); ; {
		if !bell.reached(heard + 1) {
			bell.block(heard+1, time.Hour)
			continue
		}
		heard = bell.value.Load()
		over := p.hushed.Load() || p.look() != nil
		if !over {
			asked()
		}
		looked.set(heard)
		if over {
			return
		}
	}
}

// hush ends this rank's listen.
func (p *page) hush() {
	p.hushed.Store(true)
	p.bell(p.me).add()
}

// ring asks the rank at index i to look, and returns a function that reports
// whether it has, or has left, before a moment.
func (p *page) ring(i int) (answers func(by time.Time) bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.mem == nil {
		return func(time.Time) bool { return true }
	}
	n := p.bell(i).add()
	return func(by time.Time) bool {
		p.mu.RLock() // the memory stays
		defer p.mu.RUnlock()
		for p.mem != nil && !p.looked(i).reached(n) {
			left := time.Until(by)
			if left <= 0 {
				return p.isLeft(i)
			}
			p.looked(i).block(n, left)
		}
		return true
	}
}

// look returns the abort that a rank has written, or nil.
func (p *page) look() *comm.AbortError {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.mem == nil || word(p.mem, 0).Load() != pageWritten {
		return nil
	}
	n := min(int(binary.LittleEndian.Uint32(p.mem[8:])), pageRanks-pageText)
	return &comm.AbortError{
		Rank: int(binary.LittleEndian.Uint32(p.mem[4:])),
		Err:  errors.New(string(p.mem[pageText : pageText+n])),
	}
}

// stirs reports whether a rank aborts, although the cause may not be written yet.
func (p *page) stirs() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.mem != nil && word(p.mem, 0).Load() != 0
}

// left reports whether the rank at index i of the host has closed.
func (p *page) left(i int) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.mem != nil && p.isLeft(i)
}

func (p *page) isLeft(i int) bool { return word(p.mem, pageRanks+i*pageRank).Load() != 0 }

// close says that this rank leaves and releases the memory.
func (p *page) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	word(p.mem, pageRanks+p.me*pageRank).Store(1)
	mem := p.mem
	p.mem = nil
	return unmap(mem)
}
