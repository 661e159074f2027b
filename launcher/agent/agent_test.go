// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"octet/comm/store"
)

// Jobs with real processes are tested in cmd/octet.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMuxRoutesByFirstByte(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := newMux(ln)
	defer m.Close()
	addr := ln.Addr().String()
	silent, err := net.Dial("tcp", addr) // holds up nobody, and not Close
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()

	grpc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer grpc.Close()
	io.WriteString(grpc, "PRI * HTTP/2.0")
	conn, err := m.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b := make([]byte, 5)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "PRI *" {
		t.Errorf("gRPC reads %q, %v", b, err)
	}

	for range 2 { // the second attempt's store does not know the first one's keys
		m.newStore()
		st, err := store.Dial(t.Context(), addr)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := st.Add(t.Context(), "n", 1); err != nil || n != 1 {
			t.Errorf("store: got %d, %v, want 1", n, err)
		}
		st.Close()
	}
}

func TestMuxCloses(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := newMux(ln)
	m.newStore()
	m.Close()
	m.Close()
	if _, err := m.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
}

func TestClockTakesTheQuickestBeat(t *testing.T) {
	here := time.Unix(1000, 0)
	there := here.Add(-time.Hour)
	var c clock
	for _, delay := range []time.Duration{40 * time.Millisecond, time.Millisecond, 90 * time.Millisecond} {
		c.beat(here.Add(delay), there)
	}
	if got := c.here(there).Sub(here); got != time.Millisecond {
		t.Errorf("off by %v, want 1ms", got)
	}
}

func TestDialExplains(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := ln.Addr().String()
	ln.Close()
	_, err = dial(t.Context(), Options{JoinTimeout: time.Millisecond}, refused)
	if err == nil || !strings.Contains(err.Error(), refused+": connection refused: nothing listens there yet") {
		t.Errorf("got %v", err)
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&net.DNSError{Name: "head", Err: "no such host"}, "the name head is not known here (no such host)"},
		{os.NewSyscallError("connect", syscall.EHOSTUNREACH), "no route to it from this host"},
		{context.DeadlineExceeded, "context deadline exceeded"},
	} {
		if got := explain(tt.err); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestSignalWhileDialing(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGINT
	r, err := Run(t.Context(), Options{Addr: "127.0.0.1", Port: port, JoinTimeout: time.Minute, Signals: signals})
	if err != nil || r.Code != 130 {
		t.Errorf("got %+v, %v", r, err)
	}
}
