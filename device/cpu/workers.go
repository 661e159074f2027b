// SPDX-License-Identifier: Apache-2.0

package cpu

import "sync"

// workers runs the pieces of a kernel on a fixed number of threads.
type workers struct {
	threads int
	jobs    chan job
}

type job struct {
	f    func(i int)
	next *counter
	done *sync.WaitGroup
}

type counter struct {
	mu   sync.Mutex
	i, n int
}

func (c *counter) take() (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.i == c.n {
		return 0, false
	}
	c.i++
	return c.i - 1, true
}

// newWorkers starts threads beside the caller's, each with begin.
func newWorkers(threads int, begin func()) *workers {
	w := &workers{threads: threads}
	if threads > 1 {
		w.jobs = make(chan job)
		for range threads - 1 {
			go func() {
				begin()
				for j := range w.jobs {
					j.run()
				}
			}()
		}
	}
	return w
}

func (j job) run() {
	for {
		i, ok := j.next.take()
		if !ok {
			break
		}
		j.f(i)
	}
	j.done.Done()
}

// run calls f(0), …, f(n-1), on all threads, and returns when all are done.
// Which thread runs which piece varies, so pieces must write to separate memory.
func (w *workers) run(n int, f func(i int)) {
	if w.threads == 1 || n <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	helpers := min(w.threads, n) - 1
	j := job{f: f, next: &counter{n: n}, done: &sync.WaitGroup{}}
	j.done.Add(helpers + 1)
	for range helpers {
		w.jobs <- j
	}
	j.run()
	j.done.Wait()
}

func (w *workers) close() {
	if w.jobs != nil {
		close(w.jobs)
	}
}

// slot is one of the memories that kernels of a stream reuse from call to call. What
// a kernel needs at one time is in different slots.
type slot int

const (
	slotPieces  slot = iota // what pieces read, leave or work in: positions, partial sums, rows of a loss, heads
	slotSeen                // how many keys a query sees
	slotTiles               // the workspaces of MatMul
	slotPackedA             // op(a) of a product of several columns of tiles
	slotPackedB             // op(b) of a series of products
	slotAmax                // amaxes of the pieces of what is written
	slotUpAmax              // and of a second tensor
	slots
)

type scratch struct {
	slots [slots]*Buffer
}

// get returns at least n bytes of slot i; the contents are undefined.
func (c *scratch) get(i slot, n int) *Buffer {
	if c.slots[i] == nil || c.slots[i].len < n {
		if c.slots[i] != nil {
			c.slots[i].unmap()
		}
		b, err := newBuffer(n, nil)
		if err != nil {
			panic(err)
		}
		c.slots[i] = b
	}
	return c.slots[i]
}

func (c *scratch) free() {
	for _, b := range c.slots {
		if b != nil {
			b.unmap()
		}
	}
}
