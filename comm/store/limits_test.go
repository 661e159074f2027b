// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"octet/internal/auth"
)

func TestOnlyMembersAreServed(t *testing.T) {
	addr := members(t)
	c := connect(t, addr)
	if err := c.Set(t.Context(), "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	stranger := member
	stranger.Secret = auth.NewSecret()
	if _, err := Dial(t.Context(), addr, stranger); !errors.Is(err, auth.ErrProof) {
		t.Errorf("another secret: %v", err)
	}
	// PyTorch's protocol, without a proof.
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write(binary.LittleEndian.AppendUint32([]byte{opValidate}, validateMagic))
	conn.Write(appendKey([]byte{opDelete}, "k"))
	if _, err := io.ReadFull(conn, make([]byte, 1)); err == nil {
		t.Error("a client without a proof was answered")
	}
	if v, err := c.Get(t.Context(), "k"); err != nil || string(v) != "v" {
		t.Errorf("got %q, %v", v, err)
	}
}

// TestSealedValuesAreMembers: whoever else writes to the store is not believed.
func TestSealedValuesAreMembers(t *testing.T) {
	a, b := anyone(t)
	sealed := Seal(a, member)
	if err := sealed.Set(t.Context(), "good", []byte("v")); err != nil {
		t.Fatal(err)
	}
	moved, err := b.Get(t.Context(), "good")
	if err != nil {
		t.Fatal(err)
	}
	other := member
	other.Secret = auth.NewSecret()
	if err := Seal(b, other).Set(t.Context(), "other secret", []byte("v")); err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string][]byte{"plain": []byte("10.0.0.66:1"), "moved from another key": moved, "changed": append([]byte("x"), moved...)} {
		if err := b.Set(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"plain", "moved from another key", "changed", "other secret"} {
		if v, err := sealed.Get(t.Context(), key); err == nil || !strings.Contains(err.Error(), "not by a member") {
			t.Errorf("%s: got %q, %v", key, v, err)
		}
	}
}

// TestCancelledWaitsLeaveNothing: of a wait that its client gave up, or whose
// client is gone, nothing is kept.
func TestCancelledWaitsLeaveNothing(t *testing.T) {
	s := NewServer()
	defer s.Close()
	for i := range 3 {
		client, server := net.Pipe()
		s.ServeConn(server)
		req := appendKey(binary.LittleEndian.AppendUint64([]byte{opWait}, 2), "never")
		client.Write(appendKey(req, fmt.Sprint("nor ", i)))
		if i == 0 {
			client.Write([]byte{opCancelWait})
			io.ReadFull(client, make([]byte, 1))
		}
		client.Close()
	}
	s.wg.Wait()
	if len(s.t.waiting) > 0 || s.t.budget.left != maxStore {
		t.Errorf("left: %v, and %d bytes", s.t.waiting, maxStore-s.t.budget.left)
	}
}

// TestAStoreFillsUp: who stores without limit is stopped, and what others have
// stored stays.
func TestAStoreFillsUp(t *testing.T) {
	s := NewServer()
	defer s.Close()
	s.t.budget.left = 4 << 20
	dial := func() net.Conn {
		client, server := net.Pipe()
		s.ServeConn(server)
		return client
	}
	set := func(c net.Conn, key string, n int) error {
		_, err := c.Write(appendString(appendKey([]byte{opSet}, key), make([]byte, n)))
		return err
	}
	good := dial()
	defer good.Close()
	if err := set(good, "good", 10); err != nil {
		t.Fatal(err)
	}
	for _, greedy := range []func(net.Conn, int) error{
		func(c net.Conn, i int) error { return set(c, fmt.Sprint("k", i), 1<<20) },
		func(c net.Conn, i int) error {
			_, err := c.Write(appendString(appendKey([]byte{opAppend}, "grows"), make([]byte, 1<<20)))
			return err
		},
		func(c net.Conn, i int) error {
			_, err := c.Write(appendString(appendKey([]byte{opQueuePush}, "queue"), make([]byte, 1<<20)))
			return err
		},
	} {
		c := dial()
		i := 0
		for i < 100 && greedy(c, i) == nil {
			i++
		}
		if i == 100 {
			t.Error("100 MiB were taken")
		}
		c.Close()
	}
	good.Write(appendKey([]byte{opGet}, "good"))
	if b := make([]byte, 18); true {
		if _, err := io.ReadFull(good, b); err != nil || b[0] != 10 {
			t.Errorf("got %d bytes, %v", b[0], err)
		}
	}
}

// TestConnectionsAreLimited: beyond the limit of one address a connection is
// closed at once; when one has ended there is room again.
func TestConnectionsAreLimited(t *testing.T) {
	s := NewServer()
	defer s.Close()
	s.limit = 4
	open := func() (net.Conn, bool) {
		client, server := net.Pipe()
		s.ServeConn(server)
		client.SetDeadline(time.Now().Add(10 * time.Second))
		client.Write([]byte{opPing, 1, 2, 3, 4})
		_, err := io.ReadFull(client, make([]byte, 4))
		return client, err == nil
	}
	a, ok1 := open()
	b, ok2 := open()
	_, ok3 := open()
	if !ok1 || !ok2 || ok3 {
		t.Errorf("served: %v, %v, %v; want two", ok1, ok2, ok3)
	}
	a.Close()
	b.Close()
	s.wg.Wait()
	if c, ok := open(); !ok {
		t.Error("no room after others have left")
	} else {
		c.Close()
	}
}

// TestAQueueWakesOneWaiter: a value goes to one of those that wait for the queue.
func TestAQueueWakesOneWaiter(t *testing.T) {
	table := newTable()
	first, second := table.wait([]string{"q"}), table.wait([]string{"q"})
	if err := table.push("q", []byte("v")); err != nil {
		t.Fatal(err)
	}
	<-first.ready
	select {
	case <-second.ready:
		t.Error("both were woken")
	default:
	}
	if n, v := table.pop("q"); n != 1 || !bytes.Equal(v, []byte("v")) {
		t.Errorf("got %d, %q", n, v)
	}
	table.cancel(second)
	if len(table.waiting)+len(table.queues) > 0 || table.budget.left != maxStore {
		t.Errorf("left: %v, %v", table.waiting, table.queues)
	}
}

func TestABarrierWaitsForAll(t *testing.T) {
	table := newTable()
	first, err := table.barrier("b", 2)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-first.ready:
		t.Error("one of two has passed")
	default:
	}
	second, err := table.barrier("b", 2)
	if err != nil {
		t.Fatal(err)
	}
	<-first.ready
	<-second.ready
}

func TestDialSaysThatTokensDiffer(t *testing.T) {
	addr := members(t)
	stranger := member
	stranger.Secret = auth.Public()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := Dial(ctx, addr, stranger)
	if err == nil || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), "the tokens differ") {
		t.Errorf("error %v", err)
	}
}
