// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
)

// Server answers TCPStore clients, each connection in its own goroutine, so one
// that waits for a key delays nobody else.
type Server struct {
	t  *table
	ln net.Listener

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
	wg     sync.WaitGroup
}

// NewServer returns a server without a listener of its own: ServeConn gives it
// its connections.
func NewServer() *Server {
	return &Server{t: newTable(), conns: map[net.Conn]bool{}}
}

// Serve returns a server with an empty store that accepts connections from ln
// until Close.
func Serve(ln net.Listener) *Server {
	s := NewServer()
	s.ln = ln
	s.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.ServeConn(c)
		}
	})
	return s
}

// ServeConn answers the client on c, in the background, and closes c at the end.
func (s *Server) ServeConn(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return
	}
	s.conns[c] = true
	s.wg.Go(func() {
		// Any error of the connection or of the protocol ends in the same way, and
		// the client is the one to say so.
		_ = newSession(s.t, c).serve()
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	})
}

// Close closes the listener and every connection, and returns when all sessions
// have ended.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	var err error
	if s.ln != nil {
		err = s.ln.Close()
	}
	s.wg.Wait()
	return err
}

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
	in := request{r: s.r}
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
			s.t.set(key, value)
		}
	case opCompareSet:
		if key, old, new := in.key(), in.value(), in.value(); in.err == nil {
			s.writeString(s.t.compareSet(key, old, new))
		}
	case opGet:
		if key := in.key(); in.err == nil {
			v, _ := s.t.get(key)
			s.writeString(v)
		}
	case opAdd:
		if key, n := in.key(), in.u64(); in.err == nil {
			sum, err := s.t.add(key, int64(n))
			if err != nil {
				return err
			}
			s.writeU64(uint64(sum))
		}
	case opCheck:
		if keys := in.keys(); in.err == nil {
			var b byte = allPresent
			for _, k := range keys {
				if _, ok := s.t.get(k); !ok {
					b = notPresent
				}
			}
			s.w.WriteByte(b)
		}
	case opWait:
		if keys := in.keys(); in.err == nil {
			return s.wait(keys)
		}
	case opCancelWait: // nothing waits any more: too late, but the client counts on the answer
		s.w.WriteByte(waitCanceled)
	case opNumKeys:
		s.writeU64(uint64(s.t.len()))
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
			s.t.append(key, value)
		}
	case opMultiGet:
		for _, k := range in.keys() {
			v, _ := s.t.get(k)
			s.writeString(v)
		}
	case opMultiSet:
		for n := in.count(); n > 0 && in.err == nil; n-- {
			if key, value := in.key(), in.value(); in.err == nil {
				s.t.set(key, value)
			}
		}
	default:
		return fmt.Errorf("store: unknown operation %#x", op)
	}
	return in.err // errors of s.w stick and come out of Flush
}

// wait answers when all keys are present. Meanwhile it reads one operation
// ahead: a cancel ends the wait, and so does the end of the connection. A client
// may send nothing else before it has its answer.
func (s *session) wait(keys []string) error {
	if err := s.w.Flush(); err != nil {
		return err
	}
	for {
		ready, _ := s.t.missing(keys)
		if ready == nil {
			s.w.WriteByte(allPresent)
			return s.w.Flush()
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
		case <-ready:
		case r := <-s.next:
			s.next = nil
			if r.err != nil {
				return r.err
			}
			if r.op != opCancelWait {
				return fmt.Errorf("store: operation %#x during a wait", r.op)
			}
			s.w.WriteByte(waitCanceled)
			return s.w.Flush()
		}
	}
}

func (s *session) writeU64(v uint64) {
	s.w.Write(binary.LittleEndian.AppendUint64(nil, v))
}

func (s *session) writeString(v []byte) {
	s.writeU64(uint64(len(v)))
	s.w.Write(v)
}
