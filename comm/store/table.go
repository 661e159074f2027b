// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
)

// table is the state of a store: the values, and who waits for which key.
type table struct {
	mu     sync.Mutex
	values map[string][]byte
	// waiting holds, by key, a channel that is closed when the key is set. Only
	// absent keys that somebody waits for are in it.
	waiting map[string]chan struct{}
}

func newTable() *table {
	return &table{values: map[string][]byte{}, waiting: map[string]chan struct{}{}}
}

func (t *table) set(key string, value []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.put(key, value)
}

// put stores value and wakes the waiters of key. The caller holds mu.
func (t *table) put(key string, value []byte) {
	t.values[key] = value
	if ready, ok := t.waiting[key]; ok {
		close(ready)
		delete(t.waiting, key)
	}
}

func (t *table) get(key string) ([]byte, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.values[key]
	return v, ok
}

// add keeps counters as decimal text, as PyTorch does, so that get reads them.
func (t *table) add(key string, n int64) (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var sum int64
	if v, ok := t.values[key]; ok {
		var err error
		if sum, err = strconv.ParseInt(string(v), 10, 64); err != nil {
			return 0, fmt.Errorf("store: add to %q: its value is not a counter: %w", key, err)
		}
	}
	sum += n
	t.put(key, strconv.AppendInt(nil, sum, 10))
	return sum, nil
}

// compareSet sets key to desired if its value is expected, or if it is absent
// and expected is empty. It returns the value after; for an absent key that was
// not set, expected.
func (t *table) compareSet(key string, expected, desired []byte) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.values[key]
	if !ok && len(expected) > 0 {
		return expected
	}
	if !bytes.Equal(v, expected) {
		return v
	}
	t.put(key, desired)
	return desired
}

func (t *table) append(key string, value []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.values[key]
	t.put(key, append(old[:len(old):len(old)], value...))
}

func (t *table) delete(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.values[key]
	delete(t.values, key)
	return ok
}

func (t *table) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.values)
}

// missing returns a channel that is closed when the first of keys that is absent
// now is set, and that key; nil if all are present. A caller that waits for all
// keys asks again after each.
func (t *table) missing(keys []string) (<-chan struct{}, string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range keys {
		if _, ok := t.values[k]; ok {
			continue
		}
		ready, ok := t.waiting[k]
		if !ok {
			ready = make(chan struct{})
			t.waiting[k] = ready
		}
		return ready, k
	}
	return nil, ""
}
