// SPDX-License-Identifier: Apache-2.0

// Package store is the key-value store in which ranks meet before they have a
// communicator: addresses, unique ids. It speaks PyTorch's TCPStore protocol,
// which octet's own ranks use behind a handshake that proves them members of the
// job (Serve, Dial), and PyTorch's without (ServeAnyone, DialAnyone). Seal makes a
// store that anyone may write to one in which only members are believed; Memory is
// a store for the ranks of one process, for tests. Ask for a
// fresh store for each attempt of a job: keys of an attempt that failed would
// mislead the next one.
//
//	id := auth.Identity{Job: "17/0", Service: store.Service, Secret: secret}
//	srv := store.Serve(ln, id)
//	defer srv.Close()
//	st, err := store.Dial(ctx, ln.Addr().String(), id)
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
}

// Service is what the store is called in handshakes.
const Service = "store"

// Limits of the protocol, as PyTorch's server has them. A request beyond them
// closes its connection.
const (
	maxKey   = 8 << 10   // bytes of a key
	maxValue = 8 << 20   // bytes of a value
	maxKeys  = 128 << 10 // keys of a request
)

// maxStore bounds the memory of a server: what it holds and what is on its way
// in. A request that does not fit closes its connection.
const maxStore = 256 << 20

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
	opQueuePush  = 0x0e
	opQueuePop   = 0x0f
	opQueueLen   = 0x10
	opListKeys   = 0x11
	opBarrier    = 0x12
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
