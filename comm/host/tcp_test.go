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
	for range 2 { // the second one has no place
		member, err := auth.Dial(t.Context(), l.address, id)
		if err != nil {
			t.Fatal(err)
		}
		defer member.Close()
		go member.Write([]byte("x"))
	}
	conn, err := l.take(t.Context(), world)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	if l.mu.Lock(); len(l.arrived) > 1 {
		t.Errorf("kept after it was taken: %v", l.arrived)
	}
	l.mu.Unlock()
}

// TestTakeEnds: a connection that does not come is not waited for beyond the
// context.
func TestTakeEnds(t *testing.T) {
	l, err := listen("127.0.0.1", "job", auth.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := l.take(ctx, service("world", 1, 0)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}
