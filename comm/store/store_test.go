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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func dial(t *testing.T, addr string) *Client {
	c, err := Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func serve(t *testing.T) string {
	s := Serve(listen(t))
	t.Cleanup(func() { s.Close() })
	return s.ln.Addr().String()
}

// forEach runs the test on each Store, with two views of the same one.
func forEach(t *testing.T, test func(t *testing.T, a, b Store)) {
	t.Run("memory", func(t *testing.T) {
		m := NewMemory()
		test(t, m, m)
	})
	t.Run("tcp", func(t *testing.T) {
		addr := serve(t)
		test(t, dial(t, addr), dial(t, addr))
	})
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
		if n, err := a.Add(t.Context(), "n", 3); err != nil || n != 3 {
			t.Errorf("got %d, %v", n, err)
		}
	})
}

func TestAddCountsAllClients(t *testing.T) {
	forEach(t, func(t *testing.T, a, b Store) {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if _, err := []Store{a, b}[i%2].Add(t.Context(), "n", 2); err != nil {
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
	})
}

func TestWait(t *testing.T) {
	c := dial(t, serve(t))
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
		c, err := Dial(t.Context(), addr)
		if err == nil {
			c.Close()
		}
		dialed <- err
	}()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(ln)
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
	_, err := Dial(ctx, ln.Addr().String())
	if err == nil || !strings.Contains(err.Error(), ln.Addr().String()) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v", err)
	}
}

func TestCloseEndsWaits(t *testing.T) {
	c := dial(t, serve(t))
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
