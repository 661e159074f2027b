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
//	      that is set to 1 for it to look at this page
type page struct {
	me  int // index among the ranks of the host
	n   int // ranks of the host
	mu  sync.RWMutex
	mem []byte // nil once closed
}

const (
	pageText    = 12
	pageRanks   = 4 << 10
	pageRank    = 64 // bytes per rank
	pageBell    = 8
	pageWriting = 1
	pageWritten = 2
)

func pageBytes(ranks int) int { return pageRanks + ranks*pageRank }

func newPage(mem []byte, me, ranks int) *page { return &page{mem: mem, me: me, n: ranks} }

// bell is the bell of the rank at index i.
func (p *page) bell(i int) counter { return counterAt(p.mem, pageRanks+i*pageRank+pageBell) }

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
		p.bell(i).set(1)
	}
}

// listen returns when another rank has aborted, or after hush.
func (p *page) listen() {
	for bell := p.bell(p.me); !bell.reached(1); {
		bell.block(1, time.Hour)
	}
}

// hush ends this rank's listen.
func (p *page) hush() { p.bell(p.me).set(1) }

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

// left reports whether the rank at index i of the host has closed.
func (p *page) left(i int) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.mem != nil && word(p.mem, pageRanks+i*pageRank).Load() != 0
}

// close says that this rank leaves and releases the memory.
func (p *page) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	word(p.mem, pageRanks+p.me*pageRank).Store(1)
	mem := p.mem
	p.mem = nil
	return unmap(mem)
}
