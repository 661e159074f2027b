// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// session is one client: its requests are read, and answered in their order.
type session struct {
	t *table
	r *bufio.Reader
	w *bufio.Writer
	// next holds the read of the operation after a wait, which had to start before
	// the wait ended; nil otherwise.
	next chan opRead
}

type opRead struct {
	op  byte
	err error
}

func newSession(t *table, c io.ReadWriter) *session {
	return &session{t: t, r: bufio.NewReader(c), w: bufio.NewWriter(c)}
}

func (s *session) serve() error {
	for {
		op, err := s.nextOp()
		if err == nil {
			err = s.answer(op)
		}
		if err != nil {
			return err
		}
	}
}

func (s *session) nextOp() (byte, error) {
	if s.next != nil {
		r := <-s.next
		s.next = nil
		return r.op, r.err
	}
	if s.r.Buffered() == 0 { // nothing more to read at once: let the client see its answers
		if err := s.w.Flush(); err != nil {
			return 0, err
		}
	}
	return s.r.ReadByte()
}

// answer reads the request of op and writes its answer.
func (s *session) answer(op byte) error {
	in := request{r: s.r, budget: s.t.budget}
	defer in.done()
	var err error // of the table
	switch op {
	case opValidate:
		if magic := in.u32(); in.err == nil && magic != validateMagic {
			return fmt.Errorf("store: client sent %#x in place of the magic number", magic)
		}
	case opPing:
		if nonce := in.u32(); in.err == nil {
			s.w.Write(binary.LittleEndian.AppendUint32(nil, nonce))
		}
	case opSet:
		if key, value := in.key(), in.value(); in.err == nil {
			err = s.t.set(key, value)
		}
	case opCompareSet:
		if key, old, new := in.key(), in.value(), in.value(); in.err == nil {
			var v []byte
			if v, err = s.t.compareSet(key, old, new); err == nil {
				s.writeString(v)
			}
		}
	case opGet:
		if key := in.key(); in.err == nil {
			s.writeString(s.t.get(key))
		}
	case opAdd:
		if key, n := in.key(), in.u64(); in.err == nil {
			var sum int64
			if sum, err = s.t.add(key, int64(n)); err == nil {
				s.writeU64(uint64(sum))
			}
		}
	case opCheck:
		if keys := in.keys(); in.err == nil {
			var b byte = allPresent
			if !s.t.check(keys) {
				b = notPresent
			}
			s.w.WriteByte(b)
		}
	case opWait:
		if keys := in.keys(); in.err == nil {
			err = s.wait(s.t.wait(keys))
		}
	case opBarrier:
		if key, world := in.key(), in.u64(); in.err == nil {
			var w *waiter
			if w, err = s.t.barrier(key, int64(world)); err == nil {
				err = s.wait(w)
			}
		}
	case opCancelWait: // nothing waits any more: too late, but the client counts on the answer
		s.w.WriteByte(waitCanceled)
	case opNumKeys:
		s.writeU64(uint64(s.t.len()))
	case opListKeys:
		keys := s.t.list()
		s.writeU64(uint64(len(keys)))
		for _, k := range keys {
			s.writeString([]byte(k))
		}
	case opDelete:
		if key := in.key(); in.err == nil {
			var n uint64
			if s.t.delete(key) {
				n = 1
			}
			s.writeU64(n)
		}
	case opAppend:
		if key, value := in.key(), in.value(); in.err == nil {
			err = s.t.append(key, value)
		}
	case opMultiGet:
		for _, k := range in.keys() {
			s.writeString(s.t.get(k))
		}
	case opMultiSet:
		for n := in.count(); n > 0 && in.err == nil && err == nil; n-- {
			if key, value := in.key(), in.value(); in.err == nil {
				err = s.t.set(key, value)
			}
		}
	case opQueuePush:
		if key, value := in.key(), in.value(); in.err == nil {
			err = s.t.push(key, value)
		}
	case opQueuePop:
		if key := in.key(); in.err == nil {
			n, value := s.t.pop(key)
			if s.writeU64(uint64(n)); n > 0 {
				s.writeString(value)
			}
		}
	case opQueueLen:
		if key := in.key(); in.err == nil {
			s.writeU64(uint64(s.t.queueLen(key)))
		}
	default:
		return fmt.Errorf("store: unknown operation %#x", op)
	}
	if in.err != nil {
		return in.err
	}
	return err // errors of s.w stick and come out of Flush
}

// wait answers when w is ready. Meanwhile it reads one operation ahead: a cancel
// ends the wait, and so does the end of the connection. A client may send nothing
// else before it has its answer.
func (s *session) wait(w *waiter) error {
	defer s.t.cancel(w)
	if err := s.w.Flush(); err != nil {
		return err
	}
	select {
	case <-w.ready:
		s.w.WriteByte(allPresent)
		return s.w.Flush()
	default:
	}
	if s.next == nil {
		next := make(chan opRead, 1)
		s.next = next
		go func() { // ends at the latest when the connection is closed
			op, err := s.r.ReadByte()
			next <- opRead{op, err}
		}()
	}
	select {
	case <-w.ready:
		s.w.WriteByte(allPresent)
	case r := <-s.next:
		s.next = nil
		if r.err != nil {
			return r.err
		}
		if r.op != opCancelWait {
			return fmt.Errorf("store: operation %#x during a wait", r.op)
		}
		s.w.WriteByte(waitCanceled)
	}
	return s.w.Flush()
}

func (s *session) writeU64(v uint64) {
	s.w.Write(binary.LittleEndian.AppendUint64(nil, v))
}

func (s *session) writeString(v []byte) {
	s.writeU64(uint64(len(v)))
	s.w.Write(v)
}
