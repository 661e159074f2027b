// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// request reads the fields of a request; after the first error all reads return
// zero values, and err says what was wrong.
type request struct {
	r   io.Reader
	err error
}

var errTooLarge = errors.New("store: request beyond the protocol's limits")

func (q *request) bytes(n uint64, limit uint64) []byte {
	if q.err == nil && n > limit {
		q.err = errTooLarge
	}
	if q.err != nil {
		return nil
	}
	// Memory grows with what arrives, not with what was announced.
	var buf bytes.Buffer
	_, q.err = io.CopyN(&buf, q.r, int64(n))
	return buf.Bytes()
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
