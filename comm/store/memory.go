// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

// Memory is a Store within one process. Make it with NewMemory.
type Memory struct{ t *table }

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{newTable()} }

// Set stores a copy of value under key.
func (m *Memory) Set(_ context.Context, key string, value []byte) error {
	m.t.set(key, bytes.Clone(value))
	return nil
}

// Get returns a copy of the value of key, and waits for it until ctx ends.
func (m *Memory) Get(ctx context.Context, key string) ([]byte, error) {
	start := time.Now()
	for {
		ready, _ := m.t.missing([]string{key})
		if ready == nil {
			v, _ := m.t.get(key)
			return bytes.Clone(v), nil
		}
		select {
		case <-ready:
		case <-ctx.Done():
			return nil, fmt.Errorf("store: key %q in memory not set after %v: %w", key, since(start), context.Cause(ctx))
		}
	}
}

// Add adds n to the counter at key and returns the sum.
func (m *Memory) Add(_ context.Context, key string, n int64) (int64, error) {
	return m.t.add(key, n)
}
