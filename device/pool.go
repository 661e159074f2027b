// SPDX-License-Identifier: Apache-2.0

package device

import (
	"fmt"
	"math/bits"
	"slices"

	"octet/dtype"
	"octet/tensor"
)

// Pool recycles device memory of a few size classes. It belongs to one stream:
// memory may be freed while work that uses it is still queued there, because
// whatever uses it next is queued behind. Memory that another stream has used
// may be freed once the pool's stream waits for an event of that use.
// A Pool is not safe for concurrent use.
type Pool struct {
	dev     Device
	free    map[int][]tensor.Buffer
	live    int // bytes handed out
	peak    int
	scopes  [][]tensor.Buffer // what each open scope has handed out, the innermost last
	lasting *Pool
}

// Idler is memory that is told when a pool has it back, so that a device may refuse what is
// enqueued with it after that.
type Idler interface{ SetIdle(idle bool) }

func setIdle(buf tensor.Buffer, idle bool) {
	if b, ok := buf.(Idler); ok {
		b.SetIdle(idle)
	}
}

// NewPool makes an empty pool over dev.
func NewPool(dev Device) *Pool {
	return &Pool{dev: dev, free: map[int][]tensor.Buffer{}}
}

// sizeClass rounds up so that at most an eighth is wasted.
func sizeClass(n int) int {
	if n <= 4096 {
		return 4096
	}
	step := 1 << (bits.Len(uint(n-1)) - 4)
	return (n + step - 1) / step * step
}

// OutOfMemory is what a pool panics with, an error, when its device gives no more memory.
type OutOfMemory struct {
	Device       string
	Bytes, InUse int    // that were asked for, and that the pool has handed out
	Tensor       string // as "float32[1000 1000]"
	Cause        error
}

func (e *OutOfMemory) Error() string {
	return fmt.Sprintf("device: %s: %d bytes for %s, %d in use: %v", e.Device, e.Bytes, e.Tensor, e.InUse, e.Cause)
}

func (e *OutOfMemory) Unwrap() error { return e.Cause }

// New allocates a tensor; its contents are undefined. Memory of a device that
// is exhausted is a panic, with an *OutOfMemory: there is nothing to do at the call.
func (p *Pool) New(t dtype.Type, shape ...int) *tensor.Tensor {
	n := t.Size()
	for _, d := range shape {
		n *= d
	}
	class := sizeClass(n)
	p.live += class
	p.peak = max(p.peak, p.live)
	var buf tensor.Buffer
	if list := p.free[class]; len(list) > 0 {
		buf = list[len(list)-1]
		p.free[class] = list[:len(list)-1]
		setIdle(buf, false)
	} else {
		var err error
		if buf, err = p.dev.Alloc(class); err != nil {
			panic(&OutOfMemory{p.dev.Name(), class, p.live, fmt.Sprintf("%v%v", t, shape), err})
		}
	}
	if open := len(p.scopes); open > 0 {
		p.scopes[open-1] = append(p.scopes[open-1], buf)
	}
	return tensor.New(buf, t, shape...)
}

// Free takes the memory of t back; t must be a tensor that New returned, or a
// view of all of it. Free of nil does nothing.
func (p *Pool) Free(t *tensor.Tensor) {
	if t == nil {
		return
	}
	for i := len(p.scopes) - 1; i >= 0; i-- {
		if p.forget(i, t.Buf) {
			break
		}
	}
	p.take(t.Buf)
}

// forget takes buf out of scope i, and reports whether it was there. What is freed
// was most often handed out last.
func (p *Pool) forget(i int, buf tensor.Buffer) bool {
	for j := len(p.scopes[i]) - 1; j >= 0; j-- {
		if p.scopes[i][j] == buf {
			p.scopes[i] = slices.Delete(p.scopes[i], j, j+1)
			return true
		}
	}
	return false
}

func (p *Pool) take(buf tensor.Buffer) {
	n := buf.Len()
	p.live -= n
	setIdle(buf, true)
	p.free[n] = append(p.free[n], buf)
}

// Scope begins a scope; end frees everything that the pool has handed out since
// and that is not free yet, but for the results, which then belong to the scope
// around. Scopes end in the reverse of their order.
func (p *Pool) Scope() (end func(results ...*tensor.Tensor)) {
	p.scopes = append(p.scopes, nil)
	depth := len(p.scopes)
	return func(results ...*tensor.Tensor) {
		if len(p.scopes) != depth {
			panic(fmt.Sprintf("device: scope %d of a pool ends while %d are open", depth, len(p.scopes)))
		}
		var kept []tensor.Buffer
		for _, t := range results {
			if t != nil && p.forget(depth-1, t.Buf) {
				kept = append(kept, t.Buf)
			}
		}
		for _, buf := range p.scopes[depth-1] {
			p.take(buf)
		}
		if p.scopes = p.scopes[:depth-1]; depth > 1 {
			p.scopes[depth-2] = append(p.scopes[depth-2], kept...)
		}
	}
}

// Lasting is a pool for what outlives every scope, of the same stream.
func (p *Pool) Lasting() *Pool {
	if p.lasting == nil {
		p.lasting = NewPool(p.dev)
	}
	return p.lasting
}

// Reserve takes out of the pool what is free now, until it is released: memory of a Graph, which a launch writes
// to whatever has happened since.
func (p *Pool) Reserve() (release func()) {
	reserved := p.free
	p.free = map[int][]tensor.Buffer{}
	return func() {
		for class, list := range reserved {
			p.free[class] = append(p.free[class], list...)
		}
		reserved = nil
	}
}

// Live and Peak are the bytes in use now and at most so far.
func (p *Pool) Live() int { return p.live }
func (p *Pool) Peak() int { return p.peak }
