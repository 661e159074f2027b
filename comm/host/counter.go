// SPDX-License-Identifier: Apache-2.0

package host

import (
	"sync/atomic"
	"time"
)

// counter is a number in shared memory that only grows (and wraps around) and is
// waited for.
type counter struct {
	value   *atomic.Uint32
	waiters *atomic.Uint32
}

// counterAt is the counter in the eight bytes at an offset.
func counterAt(mem []byte, at int) counter { return counter{word(mem, at), word(mem, at+4)} }

// reached reports whether the counter is n or later.
func (c counter) reached(n uint32) bool { return int32(c.value.Load()-n) >= 0 }

// add counts one more, which also others may do, and returns the value that gives.
func (c counter) add() uint32 {
	n := c.value.Add(1)
	if c.waiters.Load() != 0 {
		c.wake()
	}
	return n
}

// set changes the value and wakes who waits for it.
func (c counter) set(n uint32) {
	c.value.Store(n)
	if c.waiters.Load() != 0 {
		c.wake()
	}
}

// spins is how often a wait looks before it blocks: a few microseconds, since
// the others may need this core.
const spins = 3000

// firstSleep and longestSleep bound the sleep between two looks at the state of the
// job. Aborts wake: the looks are for a peer that leaves, and in case of a wake
// between look and sleep.
const (
	firstSleep   = 50 * time.Millisecond
	longestSleep = time.Second
)

// patience is what is left of the time that a wait may take. It sleeps longer and
// longer, and does not count what a sleep takes longer than it should by far: this
// process was stopped, and so perhaps was who it waits for.
type patience struct{ left, sleep time.Duration }

func newPatience(timeout time.Duration) patience { return patience{timeout, firstSleep} }

// next is the length of the next sleep; 0: none is left.
func (p *patience) next() time.Duration { return max(min(p.sleep, p.left), 0) }

// slept takes a sleep off that took d.
func (p *patience) slept(d time.Duration) {
	p.left -= min(d, 2*p.sleep)
	p.sleep = min(2*p.sleep, longestSleep)
}
