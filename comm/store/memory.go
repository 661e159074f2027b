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
	return m.t.set(key, bytes.Clone(value))
}

// Get returns a copy of the value of key, and waits for it until ctx ends.
func (m *Memory) Get(ctx context.Context, key string) ([]byte, error) {
	start := time.Now()
	w := m.t.wait([]string{key})
	select {
	case <-w.ready:
		return bytes.Clone(m.t.get(key)), nil
	case <-ctx.Done():
		m.t.cancel(w)
		return nil, fmt.Errorf("store: key %q in memory not set after %v: %w", key, since(start), context.Cause(ctx))
	}
}
