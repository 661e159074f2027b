// SPDX-License-Identifier: Apache-2.0

package host

import (
	"net"
	"slices"
	"sync"
)

// backlog is what a wire has posted and the socket has no room for: frames in order,
// of which the first may have been sent in part. While there are any, a goroutine
// sends them.
type backlog struct {
	write func(*net.Buffers) error
	start func(func()) // starts a goroutine

	mu      sync.Mutex
	changed sync.Cond
	frames  []net.Buffers // the first is being sent
	err     error         // why that failed, which is for good
}

// backlogLimit is what two ranks may be ahead of each other.
const backlogLimit = 2*underWay + 2

func newBacklog(write func(*net.Buffers) error, start func(func())) *backlog {
	b := &backlog{write: write, start: start}
	b.changed.L = &b.mu
	return b
}

// empty reports whether a frame may be sent past the backlog.
func (b *backlog) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.frames) == 0 && b.err == nil
}

// add copies a frame. Only a rank that is far ahead has to wait.
func (b *backlog) add(frame net.Buffers) error {
	whole := slices.Concat(frame...)
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.frames) == backlogLimit && b.err == nil {
		b.changed.Wait()
	}
	if b.err != nil {
		return b.err
	}
	b.frames = append(b.frames, net.Buffers{whole})
	if len(b.frames) == 1 {
		b.start(b.send)
	}
	return nil
}

// send sends until nothing is left.
func (b *backlog) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.frames) > 0 && b.err == nil {
		first := b.frames[0]
		b.mu.Unlock()
		err := b.write(&first)
		b.mu.Lock()
		b.frames, b.err = b.frames[1:], err
		b.changed.Broadcast()
	}
}

// flush returns when all frames are sent.
func (b *backlog) flush() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.frames) > 0 && b.err == nil {
		b.changed.Wait()
	}
	return b.err
}
