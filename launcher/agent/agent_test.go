// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"octet/launcher/workers"
)

// Jobs with real processes are tested in cmd/octet; the Example is one, and has this
// binary as its guard.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "guard" {
		workers.Guard(os.Stdin)
		return
	}
	goleak.VerifyTestMain(m)
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
	addr := ln.Addr().(*net.TCPAddr)
	ln.Close()
	_, err = dial(t.Context(), Options{Addr: "127.0.0.1", Port: addr.Port, JoinTimeout: time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), addr.String()+": connection refused: nothing listens there yet") {
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
