// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"

	"octet/internal/auth"
	"octet/internal/gate"
)

// Server answers TCPStore clients, each connection in its own goroutine, so one
// that waits for a key delays nobody else.
type Server struct {
	t    *table
	gate *gate.Gate // nil without a listener

	mu     sync.Mutex
	conns  map[net.Conn]string // address
	from   map[string]int      // connections by address
	limit  int                 // of connections, half of it from one address
	closed bool
	wg     sync.WaitGroup
}

// maxConns bounds the connections of a server; one that may have few files open
// has fewer.
const maxConns = 16 << 10

// NewServer returns a server without a listener of its own: ServeConn gives it
// its connections.
func NewServer() *Server {
	s := &Server{t: newTable(), conns: map[net.Conn]string{}, from: map[string]int{}, limit: maxConns}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil {
		s.limit = int(min(uint64(s.limit), files.Cur/2))
	}
	return s
}

// Serve returns a server with an empty store that serves the members of a job,
// who prove that they know its secret, on ln until Close.
func Serve(ln net.Listener, id auth.Identity) *Server {
	return serve(ln, func(conn net.Conn) error {
		_, err := auth.Accept(conn, auth.Only(id))
		return err
	})
}

// ServeAnyone is Serve for clients of PyTorch, whose protocol has no place for a
// proof: whoever reaches ln is served.
func ServeAnyone(ln net.Listener) *Server { return serve(ln, Validate) }

func serve(ln net.Listener, greet func(net.Conn) error) *Server {
	s := NewServer()
	s.gate = gate.New(ln, func(conn net.Conn) (func(), error) {
		return func() { s.ServeConn(conn) }, greet(conn)
	})
	return s
}

// Validate reads what a TCPStore client says first.
func Validate(r net.Conn) error {
	var hello [5]byte
	if _, err := io.ReadFull(r, hello[:]); err != nil {
		return err
	}
	if hello[0] != opValidate || binary.LittleEndian.Uint32(hello[1:]) != validateMagic {
		return fmt.Errorf("store: a client that begins with % x", hello)
	}
	return nil
}

// Addr is the listener's address.
func (s *Server) Addr() net.Addr { return s.gate.Addr() }

// ServeConn answers the client on c, in the background, and closes c at the end;
// at once if there are too many connections.
func (s *Server) ServeConn(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	addr, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil { // no network
		addr = ""
	}
	if s.closed || len(s.conns) >= s.limit || s.from[addr] >= max(1, s.limit/2) {
		c.Close()
		return
	}
	s.conns[c] = addr
	s.from[addr]++
	s.wg.Go(func() {
		// Any error of the connection or of the protocol ends in the same way, and
		// the client is the one to say so.
		_ = newSession(s.t, c).serve()
		c.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, c)
		if s.from[addr]--; s.from[addr] == 0 {
			delete(s.from, addr)
		}
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
	if s.gate != nil {
		err = s.gate.Close()
	}
	s.wg.Wait()
	return err
}
