// SPDX-License-Identifier: Apache-2.0

// Package gate accepts connections from anyone without letting anyone exhaust
// the process: a connection has to say what it must within auth.Patience, and of
// those that have not yet said it the oldest ones go when there are too many. So
// whoever floods a listener pushes out his own connections, and a member, who
// needs but two round trips, still gets in.
//
//	g := gate.New(ln, func(c net.Conn) error {
//		_, err := auth.Accept(c, auth.Only(id))
//		return err
//	}, serve)
//	defer g.Close()
package gate

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"octet/internal/auth"
)

// Gate is a listener and the connections that have not been let in. Make it with
// New.
type Gate struct {
	ln    net.Listener
	greet func(net.Conn) (serve func(), err error)
	limit int // of waiting connections, half of it from one address

	mu      sync.Mutex
	closed  bool
	waiting *list.List // of *visitor, oldest first
	count   map[netip.Addr]int
	wg      sync.WaitGroup
}

// visitor is a connection that has not been let in.
type visitor struct {
	net.Conn
	from netip.Addr
	at   *list.Element // nil: no longer in the list
}

// maxWaiting bounds the connections that wait; a process that may have few files
// open has fewer.
const maxWaiting = 4096

// New accepts connections from ln until Close. greet hears what a connection
// says first, under a deadline; with an error the connection is closed, else the
// function it returns takes the connection over, without a deadline, and must not
// block.
func New(ln net.Listener, greet func(net.Conn) (serve func(), err error)) *Gate {
	g := &Gate{ln: ln, greet: greet, limit: maxWaiting, waiting: list.New(), count: map[netip.Addr]int{}}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil {
		g.limit = int(max(2, min(uint64(g.limit), files.Cur/4)))
	}
	g.wg.Go(g.accept)
	return g
}

// Addr is the listener's address.
func (g *Gate) Addr() net.Addr { return g.ln.Addr() }

// accept survives every error but the end of the listener: a connection that was
// reset before its turn, no more files.
func (g *Gate) accept() {
	pause := time.Millisecond
	for {
		conn, err := g.ln.Accept()
		switch {
		case err == nil:
			pause = time.Millisecond
			g.admit(conn)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			g.mu.Lock()
			g.evict(nil)
			closed := g.closed
			g.mu.Unlock()
			if closed {
				return
			}
			time.Sleep(pause)
			pause = min(2*pause, 100*time.Millisecond)
		}
	}
}

func (g *Gate) admit(conn net.Conn) {
	v := &visitor{Conn: conn}
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		v.from = a.AddrPort().Addr().Unmap()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		conn.Close()
		return
	}
	if g.count[v.from] >= max(1, g.limit/2) {
		g.evict(&v.from)
	} else if g.waiting.Len() >= g.limit {
		g.evict(nil)
	}
	v.at = g.waiting.PushBack(v)
	g.count[v.from]++
	g.wg.Go(func() { g.meet(v) })
}

// evict closes the oldest connection, of an address if one is given. The caller
// holds mu.
func (g *Gate) evict(from *netip.Addr) {
	for e := g.waiting.Front(); e != nil; e = e.Next() {
		if v := e.Value.(*visitor); from == nil || v.from == *from {
			v.Close()
			g.remove(v)
			return
		}
	}
}

// remove takes v from the list and reports whether it was there. The caller holds
// mu.
func (g *Gate) remove(v *visitor) bool {
	if v.at == nil {
		return false
	}
	g.waiting.Remove(v.at)
	v.at = nil
	if g.count[v.from]--; g.count[v.from] == 0 {
		delete(g.count, v.from)
	}
	return true
}

func (g *Gate) meet(v *visitor) {
	v.SetDeadline(time.Now().Add(auth.Patience))
	serve, err := g.greet(v.Conn)
	v.SetDeadline(time.Time{})
	g.mu.Lock()
	in := g.remove(v) && err == nil && !g.closed
	g.mu.Unlock()
	if !in {
		v.Close()
		return
	}
	serve()
}

// Close ends the listener and the connections that wait; those that were let in
// are not its own.
func (g *Gate) Close() error {
	g.mu.Lock()
	g.closed = true
	for e := g.waiting.Front(); e != nil; e = e.Next() {
		e.Value.(*visitor).Close()
	}
	g.mu.Unlock()
	err := g.ln.Close()
	g.wg.Wait()
	return err
}
