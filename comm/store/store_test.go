// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"octet/internal/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// member is who the clients are.
var member = auth.Identity{Job: "17/0", Service: Service, Secret: auth.NewSecret()}

func connect(t *testing.T, addr string) *Client {
	c, err := Dial(t.Context(), addr, member)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func members(t *testing.T) string {
	s := Serve(listen(t), member)
	t.Cleanup(func() { s.Close() })
	return s.Addr().String()
}

// forEach runs the test on each Store, with two views of the same one.
func forEach(t *testing.T, test func(t *testing.T, a, b Store)) {
	t.Run("memory", func(t *testing.T) {
		m := NewMemory()
		test(t, m, m)
	})
	t.Run("tcp", func(t *testing.T) {
		addr := members(t)
		test(t, connect(t, addr), connect(t, addr))
	})
	t.Run("anyone, sealed", func(t *testing.T) {
		a, b := anyone(t)
		test(t, Seal(a, member), Seal(b, member))
	})
}

// anyone returns two clients of a store that serves anyone.
func anyone(t *testing.T) (a, b *Client) {
	s := ServeAnyone(listen(t))
	t.Cleanup(func() { s.Close() })
	for _, c := range []**Client{&a, &b} {
		var err error
		if *c, err = DialAnyone(t.Context(), s.Addr().String()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*c).Close() })
	}
	return a, b
}

func TestSetGet(t *testing.T) {
	forEach(t, func(t *testing.T, a, b Store) {
		for _, value := range []string{"", "x", strings.Repeat("long", 100000)} {
			if err := a.Set(t.Context(), "key", []byte(value)); err != nil {
				t.Fatal(err)
			}
			if err := a.Set(t.Context(), "fence", nil); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Get(t.Context(), "fence"); err != nil {
				t.Fatal(err)
			}
			got, err := b.Get(t.Context(), "key")
			if err != nil || string(got) != value {
				t.Errorf("got %d bytes, %v; want %d", len(got), err, len(value))
			}
		}
	})
}

func TestGetWaitsForSet(t *testing.T) {
	forEach(t, func(t *testing.T, a, b Store) {
		got := make(chan string)
		go func() {
			v, err := a.Get(t.Context(), "late")
			got <- fmt.Sprint(string(v), err)
		}()
		// a's own Set must not be held up by its Get.
		for _, st := range []Store{a, b} {
			if err := st.Set(t.Context(), "other", nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Set(t.Context(), "late", []byte("v")); err != nil {
			t.Fatal(err)
		}
		if g := <-got; g != "v<nil>" {
			t.Errorf("got %s", g)
		}
	})
}

func TestGetNamesKeyAndTime(t *testing.T) {
	forEach(t, func(t *testing.T, a, _ Store) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := a.Get(ctx, "nobody")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		for _, part := range []string{`"nobody"`, "ms"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("error does not contain %s: %v", part, err)
			}
		}
		// The store still works after an interrupted call.
		if err := a.Set(t.Context(), "n", []byte("3")); err != nil {
			t.Error(err)
		}
		if v, err := a.Get(t.Context(), "n"); err != nil || string(v) != "3" {
			t.Errorf("got %q, %v", v, err)
		}
	})
}

func TestAddCountsAllClients(t *testing.T) {
	a, b := anyone(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := []*Client{a, b}[i%2].Add(t.Context(), "n", 2); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n, err := b.Add(t.Context(), "n", -1); err != nil || n != 39 {
		t.Errorf("got %d, %v; want 39", n, err)
	}
	if v, err := a.Get(t.Context(), "n"); err != nil || string(v) != "39" {
		t.Errorf("got %q, %v; want decimal text", v, err)
	}
}

func TestWait(t *testing.T) {
	c := connect(t, members(t))
	done := make(chan error)
	go func() { done <- c.Wait(t.Context(), "a", "b") }()
	for _, k := range []string{"b", "a"} {
		if err := c.Set(t.Context(), k, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDialWaitsForServer(t *testing.T) {
	ln := listen(t)
	addr := ln.Addr().String()
	ln.Close() // the port is free again: the first attempts are refused
	dialed := make(chan error)
	go func() {
		c, err := Dial(t.Context(), addr, member)
		if err == nil {
			c.Close()
		}
		dialed <- err
	}()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(ln, member)
	defer s.Close()
	if err := <-dialed; err != nil {
		t.Error(err)
	}
}

func TestDialWithoutServer(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := Dial(ctx, ln.Addr().String(), member)
	if err == nil || !strings.Contains(err.Error(), ln.Addr().String()) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v", err)
	}
}

func TestCloseEndsWaits(t *testing.T) {
	c := connect(t, members(t))
	done := make(chan error)
	go func() {
		_, err := c.Get(t.Context(), "never")
		done <- err
	}()
	c.Close()
	if err := <-done; err == nil {
		t.Error("Get returned no error after Close")
	}
}
