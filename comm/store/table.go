// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
)

// table is the state of a store: values, queues, and who waits for which key.
type table struct {
	budget *budget

	mu     sync.Mutex
	values map[string][]byte
	queues map[string][][]byte // none is empty
	// waiting has the waiters of each key, in the order in which they came, while
	// they wait.
	waiting map[string][]*waiter
}

// waiter waits for keys that were absent when it came.
type waiter struct {
	keys  []string
	left  int           // of keys that are still to come
	ready chan struct{} // closed when all have come
}

func newTable() *table {
	return &table{
		budget: &budget{left: maxStore},
		values: map[string][]byte{}, queues: map[string][][]byte{}, waiting: map[string][]*waiter{},
	}
}

// budget bounds the memory of a store: values, and requests on their way in.
type budget struct {
	mu   sync.Mutex
	left int
}

var errFull = errors.New("store: full")

// take takes n bytes, or nothing and says so. A negative n gives bytes back.
func (b *budget) take(n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.left {
		return errFull
	}
	b.left -= n
	return nil
}

// give gives n bytes back.
func (b *budget) give(n int) { _ = b.take(-n) }

// entryBytes is about what a value costs beside its own bytes and those of its key.
const entryBytes = 128

func (t *table) set(key string, value []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.put(key, value)
}

// put stores value and wakes the waiters of key. The caller holds mu.
func (t *table) put(key string, value []byte) error {
	if err := t.store(key, value); err != nil {
		return err
	}
	t.wake(key)
	return nil
}

// store stores value and wakes nobody. The caller holds mu.
func (t *table) store(key string, value []byte) error {
	more := len(value)
	if old, ok := t.values[key]; ok {
		more -= len(old)
	} else {
		more += len(key) + entryBytes
	}
	if err := t.budget.take(more); err != nil {
		return err
	}
	t.values[key] = value
	return nil
}

func (t *table) wake(key string) {
	for _, w := range t.waiting[key] {
		w.come()
	}
	delete(t.waiting, key)
}

// come notes that one of the keys has come, and reports whether it was the last.
func (w *waiter) come() bool {
	w.left--
	if w.left == 0 {
		close(w.ready)
	}
	return w.left == 0
}

func (t *table) get(key string) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.values[key]
}

// add keeps counters as decimal text, as PyTorch does, so that get reads them.
func (t *table) add(key string, n int64) (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum, err := t.counter(key)
	if err != nil {
		return 0, err
	}
	sum += n
	return sum, t.put(key, strconv.AppendInt(nil, sum, 10))
}

func (t *table) counter(key string) (int64, error) {
	v, ok := t.values[key]
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("store: the value of %q is not a counter: %w", key, err)
	}
	return n, nil
}

// compareSet sets key to desired if its value is expected, or if it is absent
// and expected is empty. It returns the value after; for an absent key that was
// not set, expected.
func (t *table) compareSet(key string, expected, desired []byte) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.values[key]
	if !ok && len(expected) > 0 {
		return expected, nil
	}
	if !bytes.Equal(v, expected) {
		return v, nil
	}
	return desired, t.put(key, desired)
}

func (t *table) append(key string, value []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.put(key, slices.Concat(t.values[key], value))
}

func (t *table) delete(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.values[key]
	if ok {
		t.budget.give(len(key) + len(v) + entryBytes)
		delete(t.values, key)
	}
	return ok
}

func (t *table) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.values)
}

// list returns all keys that have a value, in order.
func (t *table) list() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(maps.Keys(t.values))
}

// push puts value at the end of the queue of key and wakes the first who waits
// for it.
func (t *table) push(key string, value []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.budget.take(len(key) + len(value) + entryBytes); err != nil {
		return err
	}
	t.queues[key] = append(t.queues[key], value)
	for len(t.waiting[key]) > 0 {
		w := t.waiting[key][0]
		t.forget(key, w)
		if w.come() {
			break
		}
	}
	return nil
}

// pop returns how many values the queue of key had, and takes the first of them.
func (t *table) pop(key string) (n int, value []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.queues[key]
	if len(q) == 0 {
		return 0, nil
	}
	t.budget.give(len(key) + len(q[0]) + entryBytes)
	if len(q) == 1 {
		delete(t.queues, key)
	} else {
		t.queues[key] = q[1:]
	}
	return len(q), q[0]
}

func (t *table) queueLen(key string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.queues[key])
}

// has reports whether key has a value or a queue. The caller holds mu.
func (t *table) has(key string) bool {
	_, ok := t.values[key]
	return ok || len(t.queues[key]) > 0
}

// check reports whether all keys are present.
func (t *table) check(keys []string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !slices.ContainsFunc(keys, func(k string) bool { return !t.has(k) })
}

// wait returns a waiter for those of keys that are absent.
func (t *table) wait(keys []string) *waiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.await(slices.DeleteFunc(slices.Clone(keys), t.has))
}

// await returns a waiter for keys. The caller holds mu.
func (t *table) await(keys []string) *waiter {
	w := &waiter{keys: keys, left: len(keys), ready: make(chan struct{})}
	for _, k := range keys {
		t.waiting[k] = append(t.waiting[k], w)
	}
	if w.left == 0 {
		close(w.ready)
	}
	return w
}

// cancel forgets a waiter.
func (t *table) cancel(w *waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range w.keys {
		t.forget(k, w)
	}
}

// forget removes one entry of w from the waiters of key. The caller holds mu.
func (t *table) forget(key string, w *waiter) {
	all := t.waiting[key]
	i := slices.Index(all, w)
	switch {
	case i < 0:
	case len(all) == 1:
		delete(t.waiting, key)
	default:
		t.waiting[key] = slices.Delete(all, i, i+1)
	}
}

// barrier counts an arrival at key; the waiter is ready when world have arrived.
func (t *table) barrier(key string, world int64) (*waiter, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.counter(key)
	if err != nil {
		return nil, err
	}
	n++
	if err := t.store(key, strconv.AppendInt(nil, n, 10)); err != nil {
		return nil, err
	}
	if n < world {
		return t.await([]string{key}), nil
	}
	t.wake(key)
	return t.await(nil), nil
}
