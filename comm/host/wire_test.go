// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"octet/comm"
	"octet/comm/internal/group"
)

// wires connects two ranks, of hosts of their own, by sockets that hold less than a
// message.
func wires(t *testing.T, timeout time.Duration) [2]*wire {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialed, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var ws [2]*wire
	for r, conn := range []net.Conn{dialed, accepted} {
		conn.(*net.TCPConn).SetReadBuffer(64 << 10)
		conn.(*net.TCPConn).SetWriteBuffer(64 << 10)
		n := newNode(Config{Rank: r, Timeout: timeout})
		n.peers = []peer{{Host: "0", control: newControl(n, 0, nil)}, {Host: "1", control: newControl(n, 1, nil)}}
		n.job.Tell = nil // there is nobody on the control connections
		ws[r] = newWire(n, 1-r, conn, wireChunk)
		t.Cleanup(func() {
			n.job.Abort(r, errors.New("the test ends"))
			ws[r].close()
			n.ended.Wait()
		})
	}
	return ws
}

// post sends message n, which says so in all of its bytes.
func post(t *testing.T, w *wire, n uint32, size int) {
	t.Helper()
	buf := bytes.Repeat([]byte{byte(n + 1)}, size)
	layout := group.Layout{At: []int{0}, Len: []int{size}, Total: size}
	if err := w.send(n, &group.Message{Bufs: [][]byte{buf}, Layout: &layout, Hi: size}, 0); err != nil {
		t.Fatalf("message %d: %v", n, err)
	}
	clear(buf) // which is the rank's again
}

// receive is how message n has come.
func receive(t *testing.T, w *wire, n uint32, check func() error) []byte {
	t.Helper()
	v, err := w.await(n, nil, check)
	if err != nil {
		t.Fatalf("message %d: %v", n, err)
	}
	return v.Staged
}

func noCheck() error { return nil }

// Two ranks that are as far ahead as they may be, and have not read a byte, do not
// wait for each other.
func TestPostsWaitForNoReader(t *testing.T) {
	const size = wireChunk
	ws := wires(t, time.Minute)
	for n := range uint32(underWay + 2) {
		for _, w := range ws {
			post(t, w, n, size)
		}
	}
	if ws[0].backlog.empty() || ws[1].backlog.empty() {
		t.Error("the sockets took it all: the test shows nothing")
	}
	for n := range uint32(underWay + 2) {
		for _, w := range ws {
			if got := receive(t, w, n, noCheck); !bytes.Equal(got, bytes.Repeat([]byte{byte(n + 1)}, size)) {
				t.Errorf("message %d has come as %d bytes, %d...", n, len(got), got[:min(len(got), 8)])
			}
		}
	}
	for _, w := range ws {
		if err := w.backlog.flush(); err != nil || !w.backlog.empty() {
			t.Errorf("after all was read: %v", err)
		}
	}
}

// begun tells of writes.
type begun struct {
	net.Conn
	writes chan struct{}
}

func (b begun) Write(p []byte) (int, error) {
	b.writes <- struct{}{}
	return b.Conn.Write(p)
}

// A peer that does not read is named at the deadline, and an abort ends the wait.
func TestAFlushEnds(t *testing.T) {
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		end     func(*wire)
		want    error
	}{
		{"deadline", time.Second, func(*wire) {}, group.Timeout{World: 1}},
		{"abort", time.Hour, func(w *wire) { w.node.job.Abort(0, net.ErrClosed) }, net.ErrClosed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := wires(t, tt.timeout)[0]
			conn := begun{w.conn, make(chan struct{}, 1)}
			w.conn = conn
			if err := w.backlog.add(net.Buffers{make([]byte, 8<<20)}); err != nil {
				t.Fatal(err)
			}
			<-conn.writes
			tt.end(w)
			if err := w.backlog.flush(); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if err := w.backlog.add(net.Buffers{{1}}); !errors.Is(err, tt.want) {
				t.Errorf("a later message: %v, want %v", err, tt.want)
			}
		})
	}
}

// Whether a rank has posted is seen though nobody waits for it, and what was read to
// see it is not lost.
func TestPostedIsSeenBeforeItIsAwaited(t *testing.T) {
	ws := wires(t, time.Minute)
	if n := ws[1].posted(); n != 0 {
		t.Errorf("before the first message: %d", n)
	}
	for n := range uint32(3) {
		post(t, ws[0], n, 100)
		for ws[1].posted() != n+1 { // until the test's own deadline
			time.Sleep(time.Millisecond)
		}
		if got := receive(t, ws[1], n, noCheck); len(got) != 100 || got[99] != byte(n+1) {
			t.Errorf("message %d has come as %v", n, got)
		}
		if seen := ws[1].posted(); seen != n+1 {
			t.Errorf("after message %d: %d", n, seen)
		}
	}
}

// What a rank has sent counts, though it has left when that is looked at.
func TestTheLastWordOfARankThatHasLeftIsHeard(t *testing.T) {
	ws := wires(t, time.Minute)
	left := func() error {
		post(t, ws[0], 0, 100)
		return errors.New("rank 0 has left")
	}
	if got := receive(t, ws[1], 0, left); len(got) != 100 {
		t.Errorf("%d bytes", len(got))
	}
	silent := func() error { return errors.New("rank 0 has left") }
	if _, err := ws[1].await(1, nil, silent); err == nil || err.Error() != "rank 0 has left" {
		t.Errorf("with nothing sent: %v", err)
	}
}

// A message goes to several tensors at once, without what fills the gaps between them
// and behind them, and without touching what follows it.
func TestAMessageIsReadToItsPlace(t *testing.T) {
	ws := wires(t, time.Minute)
	layout := group.Layout{At: []int{0, 128, 256}, Len: []int{100, 128, 4}, Total: 260}
	into := &group.Message{Bufs: [][]byte{make([]byte, 100), make([]byte, 128), make([]byte, 4)}, Layout: &layout, Lo: 64, Hi: 256}
	for i, size := range []int{192, 192 + group.Align} { // up to the last tensor, and with a gap behind it
		n := uint32(2 * i)
		post(t, ws[0], n, size)
		post(t, ws[0], n+1, 10)
		v, err := ws[1].await(n, into, noCheck)
		if err != nil || !v.Placed {
			t.Fatalf("%d bytes: %+v, error %v", size, v, err)
		}
		is := byte(n + 1)
		want := [][]byte{append(make([]byte, 64), bytes.Repeat([]byte{is}, 36)...), bytes.Repeat([]byte{is}, 128), make([]byte, 4)}
		for j := range want {
			if !bytes.Equal(into.Bufs[j], want[j]) {
				t.Errorf("%d bytes: tensor %d is %v", size, j, into.Bufs[j])
			}
		}
		if got := receive(t, ws[1], n+1, noCheck); len(got) != 10 {
			t.Errorf("%d bytes: the next message has %d", size, len(got))
		}
	}
}

// A message that stops in its middle has been posted, so another rank is to blame.
func TestAMessageThatStopsIsPosted(t *testing.T) {
	ws := wires(t, time.Minute)
	frame := binary.LittleEndian.AppendUint32(make([]byte, 4, 2*frameHead), 100)
	if _, err := ws[0].conn.Write(frame[:2*frameHead]); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if _, err := ws[1].await(0, nil, func() error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	if _, err := ws[0].conn.Write(append(bytes.Repeat([]byte{0xff}, frameHead-1), 0)); err != nil { // no head
		t.Fatal(err)
	}
	if n := ws[1].posted(); n != 1 {
		t.Errorf("posted %d messages, want 1", n)
	}
}

// Frames that no rank of this group sends are refused, before they are believed.
func TestFramesOfAnotherKindAreRefused(t *testing.T) {
	frame := func(round, size uint32) []byte {
		b := binary.LittleEndian.AppendUint32(nil, round)
		return append(binary.LittleEndian.AppendUint32(b, size), make([]byte, 9+1000)...)
	}
	layout := group.Layout{At: []int{0}, Len: []int{1000}, Total: 1000}
	into := &group.Message{Bufs: [][]byte{make([]byte, 1000)}, Layout: &layout, Hi: 1000}
	for _, tt := range []struct {
		name  string
		frame []byte
		into  *group.Message
		want  string
	}{
		{"another round", frame(7, 8), nil, "is in round 7 of the group, this rank in 0"},
		{"too large", frame(0, wireChunk+1), nil, "sends 262145 bytes in a message, which has at most 262144"},
		{"too short", frame(0, 999), into, "sends 999 bytes in a message of 1000"},
		{"too long", frame(0, 1000+group.Align+1), into, "sends 1065 bytes in a message of 1000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ws := wires(t, time.Minute)
			if _, err := ws[0].conn.Write(tt.frame); err != nil {
				t.Fatal(err)
			}
			if _, err := ws[1].await(0, tt.into, noCheck); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// Large messages take, with their heads, no segment more than they have 64 KiB.
func TestMessagesFitIntoSegments(t *testing.T) {
	const segment = 65483 // bytes of data in the largest on loopback
	l := link{chunk: wireChunk, members: make([]int, 2), apart: true}
	for _, tt := range []struct{ of, got int }{
		{wireChunk, l.Window(false)}, {wireChunk / 2, l.Window(true)}, {cacheSlice, l.Slice(1 << 30)}, {1 << 20, segments(1 << 20)},
	} {
		if tt.got%group.Align != 0 || tt.got < tt.of-tt.of/100 {
			t.Errorf("of %d bytes: %d", tt.of, tt.got)
		}
		if whole := frameHead + comm.CallBytes + tt.got; whole > tt.of/(64<<10)*segment {
			t.Errorf("of %d bytes: %d with the heads, more than %d segments", tt.of, whole, tt.of/(64<<10))
		}
	}
	l.chunk = 4096
	if got := l.Window(false); got != 4096 {
		t.Errorf("of 4096 bytes: %d", got)
	}
}

// Messages within a host are larger, until a group of many ranks would take much memory;
// those of ranks on several hosts are not.
func TestChunksFitTheLink(t *testing.T) {
	for _, tt := range []struct{ asked, members, here, want int }{
		{0, 2, 2, 2 << 20},
		{0, 4, 4, 2 << 20},
		{0, 8, 8, 1 << 20},
		{0, 7, 7, 1198336},
		{0, 256, 256, wireChunk},
		{0, 4, 2, wireChunk},
		{0, 2, 1, wireChunk},
		{4096, 2, 2, 4096},
		{4096, 4, 2, 4096},
	} {
		c := Config{ChunkBytes: tt.asked}
		if got := c.chunkFor(tt.members, tt.here); got != tt.want || got%group.Align != 0 {
			t.Errorf("ChunkBytes %d, %d of %d ranks here: messages of %d bytes, want %d", tt.asked, tt.here, tt.members, got, tt.want)
		}
	}
	// An all-reduce sums as many bytes at a time as it did before.
	l := link{chunk: sharedMost, members: make([]int, 4)}
	if got := l.Slice(1 << 30); got != wireChunk/4 {
		t.Errorf("an all-reduce within a host sums %d bytes at a time, want %d", got, wireChunk/4)
	}
	if l.chunk = 4096; l.Slice(1<<30) != 1024 {
		t.Errorf("with messages of 4096 bytes it sums %d at a time", l.Slice(1<<30))
	}
}
