// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

// request reads the fields of a request; after the first error all reads return
// zero values, and err says what was wrong.
type request struct {
	r      io.Reader
	budget *budget
	taken  int // of the budget, until done
	err    error
}

// done gives back the memory of the request.
func (q *request) done() { q.budget.give(q.taken) }

var errTooLarge = errors.New("store: request beyond the protocol's limits")

func (q *request) bytes(n uint64, limit uint64) []byte {
	if q.err == nil && n > limit {
		q.err = errTooLarge
	}
	if q.err != nil {
		return nil
	}
	// Memory grows with what arrives, not with what was announced.
	var b []byte
	for len(b) < int(n) && q.err == nil {
		from := len(b)
		more := min(int(n)-from, max(from, 512))
		if q.err = q.budget.take(more); q.err == nil {
			q.taken += more
			b = slices.Grow(b, more)[:from+more]
			_, q.err = io.ReadFull(q.r, b[from:])
		}
	}
	return b
}

func (q *request) u32() uint32 {
	if b := q.bytes(4, 4); q.err == nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (q *request) u64() uint64 {
	if b := q.bytes(8, 8); q.err == nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (q *request) key() string   { return string(q.bytes(q.u64(), maxKey)) }
func (q *request) value() []byte { return q.bytes(q.u64(), maxValue) }

// count reads how many keys follow.
func (q *request) count() uint64 {
	n := q.u64()
	if q.err == nil && n > maxKeys {
		q.err = errTooLarge
	}
	if q.err != nil {
		return 0
	}
	return n
}

func (q *request) keys() []string {
	var keys []string
	for n := q.count(); n > 0 && q.err == nil; n-- {
		keys = append(keys, q.key())
	}
	return keys
}
