// SPDX-License-Identifier: Apache-2.0

// Package store is the key-value store in which ranks meet before they have a
// communicator: addresses, unique ids, counters. It speaks PyTorch's TCPStore
// protocol, so octet ranks and PyTorch scripts use the same server, whether
// octet's launcher, torchrun or rank 0 itself provides it.
//
// Serve answers clients on a listener; Dial connects to any TCPStore server;
// Memory is the same store for the ranks of one process, for tests. Ask for a
// fresh store for each attempt of a job: keys of an attempt that failed would
// mislead the next one.
//
//	srv := store.Serve(ln)
//	defer srv.Close()
//	st, err := store.Dial(ctx, ln.Addr().String())
//	defer st.Close()
//	err = st.Set(ctx, "addr/0", []byte("10.0.0.1:4242"))
//	addr, err := st.Get(ctx, "addr/1") // waits until rank 1 has set it
package store

import (
	"context"
	"time"
)

// Store is what ranks need to meet. All methods are safe for concurrent use.
type Store interface {
	// Set stores value under key.
	Set(ctx context.Context, key string, value []byte) error
	// Get returns the value of key, and waits for it until ctx ends.
	Get(ctx context.Context, key string) ([]byte, error)
	// Add adds n to the counter at key (absent counts as 0) and returns the sum.
	Add(ctx context.Context, key string, n int64) (int64, error)
}

// Limits of the protocol, as PyTorch's server has them. A request beyond them
// closes its connection.
const (
	maxKey   = 8 << 10   // bytes of a key
	maxValue = 8 << 20   // bytes of a value
	maxKeys  = 128 << 10 // keys of a request
)

// validateMagic is the first thing a client sends, after opValidate.
const validateMagic = 0x3C85F7CE

// Operations of the protocol: one byte before the request's fields.
const (
	opValidate   = 0x00
	opSet        = 0x01
	opCompareSet = 0x02
	opGet        = 0x03
	opAdd        = 0x04
	opCheck      = 0x05
	opWait       = 0x06
	opNumKeys    = 0x07
	opDelete     = 0x08
	opAppend     = 0x09
	opMultiGet   = 0x0a
	opMultiSet   = 0x0b
	opCancelWait = 0x0c
	opPing       = 0x0d
)

// Answers of check and wait.
const (
	allPresent   = 0
	notPresent   = 1
	waitCanceled = 1
)

// since returns the time since start, short enough for an error text.
func since(start time.Time) time.Duration {
	return time.Since(start).Round(time.Millisecond)
}
