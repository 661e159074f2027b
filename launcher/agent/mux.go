// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"net"
	"sync"
	"time"

	"octet/comm/store"
)

// mux splits the connections of one listener by their first byte: gRPC's are
// HTTP/2 and begin with "PRI", TCPStore clients begin with a zero byte. It is the
// net.Listener of the gRPC server.
type mux struct {
	net.Listener
	grpc   chan net.Conn
	closed chan struct{}
	wg     sync.WaitGroup

	mu    sync.Mutex
	store *store.Server // of the current attempt; nil between attempts
}

// firstByteTimeout is how long a connection may say nothing.
const firstByteTimeout = 10 * time.Second

func newMux(ln net.Listener) *mux {
	m := &mux{Listener: ln, grpc: make(chan net.Conn), closed: make(chan struct{})}
	m.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			m.wg.Go(func() { m.route(conn) })
		}
	})
	return m
}

// route hands conn to the store or to gRPC.
func (m *mux) route(conn net.Conn) {
	routed := make(chan struct{})
	defer close(routed)
	m.wg.Go(func() { // Close does not wait for silent connections
		select {
		case <-m.closed:
			conn.SetReadDeadline(time.Unix(1, 0))
		case <-routed:
		}
	})
	first := make([]byte, 1)
	conn.SetReadDeadline(time.Now().Add(firstByteTimeout))
	if _, err := conn.Read(first); err != nil {
		conn.Close()
		return
	}
	conn.SetReadDeadline(time.Time{})
	peeked := &peekedConn{Conn: conn, first: first}
	if first[0] == 'P' {
		select {
		case m.grpc <- peeked:
		case <-m.closed:
			conn.Close()
		}
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.store == nil {
		conn.Close()
		return
	}
	m.store.ServeConn(peeked)
}

// newStore begins an attempt with an empty store, and ends the old one.
func (m *mux) newStore() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.store != nil {
		m.store.Close()
	}
	m.store = store.NewServer()
}

// Accept returns the next connection of an agent.
func (m *mux) Accept() (net.Conn, error) {
	select {
	case conn := <-m.grpc:
		return conn, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

// Close ends the listener and the store.
func (m *mux) Close() error {
	select {
	case <-m.closed: // gRPC closes its listener too
		return nil
	default:
	}
	close(m.closed)
	err := m.Listener.Close()
	m.wg.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.store != nil {
		m.store.Close()
		m.store = nil
	}
	return err
}

// peekedConn gives back the byte that was read to route it.
type peekedConn struct {
	net.Conn
	first []byte
}

func (c *peekedConn) Read(b []byte) (int, error) {
	if len(c.first) > 0 && len(b) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}
