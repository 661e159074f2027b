// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"octet/comm"
	"octet/comm/internal/group"
)

// A rank may post underWay messages beyond the round that it reads, and so may its
// peer: a wire takes what both have posted. At 100 MB/s and 400 ms there and back,
// 8 MiB under way are half of what fits.
//
// One message is posted ahead until a wait takes longWay or more, then four times
// as many, and so on: that is a long way, or a peer that has no time to read.
const (
	underWay = 32
	longWay  = 3 * time.Millisecond
)

// wire is the connection with one rank of another host in one group. A frame
// on it is
//
//	4 bytes round, 4 bytes length, 8 bytes Lo, 1 byte whether a Call follows,
//	the Call, the bytes of the message
//
// The rank itself reads, when it waits for a message: a goroutine that read ahead
// would have to wake it for each, and could not know where the message belongs. What
// comes earlier stays with TCP and, where that has no room left, in the sender's
// backlog. A rank that posts waits for nobody, and ranks read a wire in the order in
// which it was written to, so whatever they wait for is on its way.
type wire struct {
	node    *node
	rank    int // of the world
	chunk   int // bytes of a message at most
	conn    net.Conn
	stop    func() bool
	backlog *backlog
	bufs    net.Buffers // of the frame being sent
	rest    net.Buffers // what of bufs is not sent yet
	out     [frameHead + comm.CallBytes]byte

	in     [frameHead + comm.CallBytes]byte // of the frame that comes
	got    int                              // bytes of in that have come
	seen   uint32                           // the round after the last whose head has come
	call   comm.Call
	staged []byte
	gap    [group.Align]byte
	due    time.Time // when a read ends
	ahead  int       // see longWay
}

const frameHead = 17

// briefly is how long a rank waits for room in the socket, which a peer that reads
// makes sooner, before it copies the rest of a frame to the backlog.
const briefly = 100 * time.Microsecond

func newWire(n *node, rank int, conn net.Conn, chunk int) *wire {
	w := &wire{node: n, rank: rank, chunk: chunk, conn: conn, ahead: 1}
	w.backlog = newBacklog(func(frame *net.Buffers) error { return w.write(frame, n.job.Timeout()) }, n.ended.Go)
	w.stop = n.job.AfterAbort(func() { conn.SetDeadline(time.Unix(1, 0)) })
	return w
}

// padding fills the gaps between tensors.
var padding [group.Align]byte

// send writes the part of m for rank q of the group, or leaves it to the backlog.
func (w *wire) send(n uint32, m *group.Message, q int) error {
	if m.Only > 0 && q != m.Only-1 {
		return nil
	}
	w.bufs = append(w.bufs[:0], nil)
	end := 0
	lo, hi := m.Range(q)
	for i := range m.Bufs {
		if a, b := m.Layout.Span(i, lo, hi); a < b {
			at := m.Layout.At[i] + a - lo
			w.bufs = append(w.bufs, padding[:at-end], m.Part(q, i)[a:b])
			end = at + b - a
		}
	}
	if end == 0 && m.Call == nil {
		return nil
	}
	head := w.out[:frameHead]
	binary.LittleEndian.PutUint32(head, n)
	binary.LittleEndian.PutUint32(head[4:], uint32(end))
	binary.LittleEndian.PutUint64(head[8:], uint64(lo))
	head[16] = 0
	if m.Call != nil {
		head[16] = 1
		head = w.out[:]
		m.Call.Encode(head[frameHead:])
	}
	w.bufs[0] = head
	w.rest = w.bufs
	if w.backlog.empty() {
		err := w.write(&w.rest, briefly)
		if _, late := errors.AsType[group.Timeout](err); !late {
			return err
		}
	}
	return w.backlog.add(w.rest)
}

// write takes off b what it has written, which is all unless it fails.
func (w *wire) write(b *net.Buffers, timeout time.Duration) error {
	w.conn.SetWriteDeadline(time.Now().Add(timeout))
	if err := w.node.job.Cause(); err != nil { // its deadline may have come before ours
		return err
	}
	if _, err := b.WriteTo(w.conn); err != nil {
		if cause := w.node.job.Cause(); cause != nil {
			return cause
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return group.Timeout{World: w.rank}
		}
		return w.lost()
	}
	return nil
}

// await reads the message of round n, to where into says if it says anything.
func (w *wire) await(n uint32, into *group.Message, check func() error) (v group.View, err error) {
	began := time.Now()
	r := reader{w, newPatience(w.node.job.Timeout()), check}
	for w.missing() > 0 {
		k, err := r.read(w.in[w.got:][:w.missing()])
		if w.got += k; err != nil {
			return v, err
		}
	}
	if time.Since(began) > longWay {
		w.ahead = min(4*w.ahead, underWay)
	}
	if w.seen = binary.LittleEndian.Uint32(w.in[:]) + 1; w.seen != n+1 {
		return v, fmt.Errorf("%s is in round %d of the group, this rank in %d", w.node.describe(w.rank), w.seen-1, n)
	}
	size := int(binary.LittleEndian.Uint32(w.in[4:]))
	if size > w.chunk {
		return v, fmt.Errorf("%s sends %d bytes in a message, which has at most %d", w.node.describe(w.rank), size, w.chunk)
	}
	v.Lo = int(binary.LittleEndian.Uint64(w.in[8:]))
	if w.in[16] != 0 {
		w.call = comm.DecodeCall(w.in[frameHead:])
		v.Call = &w.call
	}
	if into != nil {
		v.Placed, err = true, r.place(into, size)
	} else {
		if len(w.staged) < size {
			w.staged = make([]byte, size)
		}
		v.Staged = w.staged[:size]
		err = r.full(v.Staged)
	}
	if err == nil {
		w.got = 0
	}
	return v, err
}

// missing is how many bytes of the next frame's head have not come, as far as is
// known.
func (w *wire) missing() int {
	if w.got >= frameHead && w.in[16] != 0 {
		return len(w.in) - w.got
	}
	return max(frameHead-w.got, 0)
}

// posted is the round after the last that the peer is known to have posted: of those
// that no one has waited for, only the first is looked for.
func (w *wire) posted() uint32 {
	for w.missing() > 0 {
		k := w.ready(w.in[w.got:][:w.missing()])
		if k == 0 {
			return w.seen
		}
		w.got += k
	}
	w.seen = binary.LittleEndian.Uint32(w.in[:]) + 1
	return w.seen
}

// lost is why the connection has ended: the control connection knows whether
// the peer aborted, left or died, and may be a moment behind.
func (w *wire) lost() error {
	select {
	case <-w.node.job.Done():
	case <-w.node.peers[w.rank].control.ended:
	case <-time.After(time.Second):
	}
	if err := w.node.check(w.rank); err != nil {
		return err
	}
	return w.node.gone(w.rank)
}

// close ends the connection. What was posted in calls that are done is sent.
func (w *wire) close() {
	w.stop()
	w.conn.Close()
}
