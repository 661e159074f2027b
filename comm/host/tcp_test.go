// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"octet/internal/auth"
)

// TestStrangersAreRefused: a connection that does not prove the secret is
// closed, and does no harm to the one that is waited for.
func TestStrangersAreRefused(t *testing.T) {
	secret := auth.NewSecret()
	l, err := listen("127.0.0.1", "job", secret)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	world := service("world", 1, 0)
	for _, tt := range []struct {
		name string
		id   auth.Identity
		want error
	}{
		{"another secret", auth.Identity{Job: "job", Service: world, Secret: auth.NewSecret()}, auth.ErrProof},
		{"another job", auth.Identity{Job: "job/1", Service: world, Secret: secret}, auth.ErrJob},
		{"another service", auth.Identity{Job: "job", Service: "store", Secret: secret}, auth.ErrService},
	} {
		if conn, err := auth.Dial(t.Context(), l.address, tt.id); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, %v, want %v", tt.name, conn, err, tt.want)
		}
	}
	silent, err := net.Dial("tcp", l.address) // is closed with the listener
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	id := auth.Identity{Job: "job", Service: world, Secret: secret}
	member, err := auth.Dial(t.Context(), l.address, id)
	if err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	go member.Write([]byte("x"))
	conn, err := l.take(t.Context(), world)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	if l.mu.Lock(); len(l.arrived) > 0 {
		t.Errorf("kept after it was taken: %v", l.arrived)
	}
	l.mu.Unlock()
}

// TestASeatIsTakenOnce: a second connection for a place is closed.
func TestASeatIsTakenOnce(t *testing.T) {
	id := auth.Identity{Job: "job", Service: service("world", 1, 0), Secret: auth.NewSecret()}
	l, err := listen("127.0.0.1", id.Job, id.Secret)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	var conns [2]net.Conn
	for i := range conns {
		if conns[i], err = auth.Dial(t.Context(), l.address, id); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
	}
	ended := make(chan int)
	for i, c := range conns {
		go func() {
			c.Read(make([]byte, 1))
			ended <- i
		}()
	}
	<-ended // one of the two, though both are members'
	seat, err := l.take(t.Context(), id.Service)
	if err != nil {
		t.Fatal(err)
	}
	seat.Close()
	<-ended
}

// TestTakeEnds: a connection that does not come is not waited for beyond the
// context, and no place is kept for it.
func TestTakeEnds(t *testing.T) {
	l, err := listen("127.0.0.1", "job", auth.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := l.take(ctx, service("world", 1, 0)); !errors.Is(err, context.DeadlineExceeded) || len(l.arrived) > 0 {
		t.Errorf("error %v, places %v", err, l.arrived)
	}
}
