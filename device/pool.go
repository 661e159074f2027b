// SPDX-License-Identifier: Apache-2.0

package device

import (
	"fmt"
	"math/bits"

	"octet/dtype"
	"octet/tensor"
)

// Pool recycles device memory of a few size classes. It belongs to one stream:
// memory may be freed while work that uses it is still queued there, because
// whatever uses it next is queued behind. Memory that another stream has used
// may be freed once the pool's stream waits for an event of that use.
// A Pool is not safe for concurrent use.
type Pool struct {
	dev  Device
	free map[int][]tensor.Buffer
	live int // bytes handed out
	peak int
	held int // bytes taken from the device
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

// New allocates a tensor; its contents are undefined. Memory of a device that
// is exhausted is a panic: there is nothing to do at the call.
func (p *Pool) New(t dtype.Type, shape ...int) *tensor.Tensor {
	n := t.Size()
	for _, d := range shape {
		n *= d
	}
	class := sizeClass(n)
	p.live += class
	p.peak = max(p.peak, p.live)
	if list := p.free[class]; len(list) > 0 {
		buf := list[len(list)-1]
		p.free[class] = list[:len(list)-1]
		return tensor.New(buf, t, shape...)
	}
	buf, err := p.dev.Alloc(class)
	if err != nil {
		panic(fmt.Sprintf("device: %s: %d bytes for %v%v, %d in use: %v", p.dev.Name(), class, t, shape, p.live, err))
	}
	p.held += class
	return tensor.New(buf, t, shape...)
}

// Free takes the memory of t back; t must be a tensor that New returned, or a
// view of all of it. Free of nil does nothing.
func (p *Pool) Free(t *tensor.Tensor) {
	if t == nil {
		return
	}
	n := t.Buf.Len()
	p.live -= n
	p.free[n] = append(p.free[n], t.Buf)
}

// Live and Peak are the bytes in use now and at most so far.
func (p *Pool) Live() int { return p.live }
func (p *Pool) Peak() int { return p.peak }
