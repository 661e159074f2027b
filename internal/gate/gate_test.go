// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"octet/internal/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo lets in who says "hi" and then returns what it is told.
func echo(conn net.Conn) (func(), error) {
	b := make([]byte, 2)
	if _, err := io.ReadFull(conn, b); err != nil {
		return nil, err
	}
	if string(b) != "hi" {
		return nil, errors.New("a stranger")
	}
	return func() {
		go func() {
			defer conn.Close()
			io.Copy(conn, conn)
		}()
	}, nil
}

func open(t *testing.T, ln net.Listener, limit int) *Gate {
	t.Helper()
	g := New(ln, echo)
	g.mu.Lock()
	g.limit = limit
	g.mu.Unlock()
	t.Cleanup(func() { g.Close() })
	return g
}

func listen(t *testing.T) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func dial(t *testing.T, g *Gate, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", g.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	io.WriteString(conn, text)
	return conn
}

// inside reports whether a connection was let in.
func inside(conn net.Conn) bool {
	io.WriteString(conn, "x")
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err == nil
}

func TestStrangersAreClosed(t *testing.T) {
	g := open(t, listen(t), 100)
	if inside(dial(t, g, "ho")) {
		t.Error("a stranger was let in")
	}
	if !inside(dial(t, g, "hi")) {
		t.Error("a member was not let in")
	}
}

// TestAFloodPushesOutItself: many connections that say nothing are held, but no
// more than the limit, and members get in all the time.
func TestAFloodPushesOutItself(t *testing.T) {
	const limit = 8
	g := open(t, listen(t), limit)
	var flood []net.Conn
	for i := range 5 * limit {
		flood = append(flood, dial(t, g, ""))
		if i%limit == 0 && !inside(dial(t, g, "hi")) {
			t.Fatalf("a member was not let in after %d silent connections", i)
		}
	}
	if !inside(dial(t, g, "hi")) { // the last of the flood has been accepted before
		t.Fatal("a member was not let in")
	}
	g.mu.Lock()
	if n := g.waiting.Len(); n > limit/2 {
		t.Errorf("%d connections wait, from one address, want at most %d", n, limit/2)
	}
	g.mu.Unlock()
	if inside(flood[0]) {
		t.Error("the first of the flood was let in")
	}
}

// TestTheLimitHoldsForAllAddresses: the oldest goes, whoever it is from.
func TestTheLimitHoldsForAllAddresses(t *testing.T) {
	g := open(t, listen(t), 4)
	var conns []net.Conn
	for i := range 6 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i))}}
		conn, err := d.Dial("tcp", g.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	for i, conn := range conns {
		if i < 2 { // closed, so that the others have been accepted
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Errorf("connection %d of 6 was let in", i)
			}
		} else if io.WriteString(conn, "hi"); !inside(conn) {
			t.Errorf("connection %d of 6 was not let in", i)
		}
	}
}

// broken fails as often as it is told to, as a listener does without files.
type broken struct {
	net.Listener
	failures atomic.Int32
}

func (b *broken) Accept() (net.Conn, error) {
	if b.failures.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return b.Listener.Accept()
}

func TestAcceptSurvivesErrors(t *testing.T) {
	ln := &broken{Listener: listen(t)}
	ln.failures.Store(5)
	if !inside(dial(t, open(t, ln, 100), "hi")) {
		t.Error("a member was not let in")
	}
}

func TestCloseWaitsForNobody(t *testing.T) {
	g := open(t, listen(t), 100)
	silent := dial(t, g, "")
	if !inside(dial(t, g, "hi")) {
		t.Error("a member was not let in")
	}
	closed := make(chan error)
	go func() { closed <- g.Close() }()
	select {
	case <-closed:
	case <-time.After(auth.Patience / 2):
		t.Fatal("it waits for a connection that says nothing")
	}
	if inside(silent) {
		t.Error("let in after the end")
	}
}
