// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"octet/comm/internal/group"
)

// frame is a message that has come, or a buffer for one.
type frame struct {
	n    uint32
	view group.View
	call group.Call
	buf  []byte
}

// A rank may post underWay messages beyond the round that it reads, and so may its
// peer: a wire has room for what both have posted, so that neither ever waits for
// the other to read. It takes the memory only when the peer is so far ahead. At
// 100 MB/s and 400 ms there and back, 8 MiB under way are half of what fits.
//
// One message is posted ahead until a wait takes longWay or more, then four times
// as many, and so on: that is a long way, or a peer that has no time to read.
const (
	underWay   = 32
	frameLimit = 2*underWay + 2
	longWay    = 3 * time.Millisecond
)

// frames are the buffers of a wire.
type frames struct {
	taken chan struct{} // one for each that is in use
	mu    sync.Mutex
	idle  []*frame
}

// take returns a buffer when one is to be had, or nil after quit.
func (f *frames) take(quit <-chan struct{}) *frame {
	select {
	case f.taken <- struct{}{}:
	case <-quit:
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.idle) - 1
	if n < 0 {
		return &frame{}
	}
	last := f.idle[n]
	f.idle = f.idle[:n]
	return last
}

func (f *frames) give(b *frame) {
	f.mu.Lock()
	f.idle = append(f.idle, b)
	f.mu.Unlock()
	<-f.taken
}

// wire is the connection with one rank of another host in one group. A frame
// on it is
//
//	4 bytes round, 4 bytes length, 8 bytes Lo, 1 byte whether a Call follows,
//	the Call, the bytes of the message
//
// A goroutine reads ahead as far as there are buffers; beyond that TCP holds
// the sender back.
type wire struct {
	node   *node
	rank   int // of the world
	conn   net.Conn
	filled chan *frame
	frames frames
	ahead  int // see longWay; of the goroutine that uses the link
	quit   chan struct{}
	held   *frame        // what await has returned, until release
	seen   atomic.Uint32 // the round after the last that has come
	head   [frameHead + group.CallBytes]byte
	bufs   net.Buffers // of the frame being sent
	rest   net.Buffers // what of bufs is not sent yet
	timer  *time.Timer
	stop   func() bool
}

const frameHead = 17

func newWire(n *node, rank int, conn net.Conn) *wire {
	w := &wire{
		node: n, rank: rank, conn: conn, quit: make(chan struct{}),
		ahead: 1, filled: make(chan *frame, frameLimit), frames: frames{taken: make(chan struct{}, frameLimit)},
	}
	w.stop = n.job.AfterAbort(func() { conn.SetWriteDeadline(time.Unix(1, 0)) })
	n.ended.Go(w.receive)
	return w
}

// padding fills the gaps between tensors.
var padding [group.Align]byte

// send writes the part of m for rank q of the group.
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
	head := w.head[:frameHead]
	binary.LittleEndian.PutUint32(head, n)
	binary.LittleEndian.PutUint32(head[4:], uint32(end))
	binary.LittleEndian.PutUint64(head[8:], uint64(lo))
	head[16] = 0
	if m.Call != nil {
		head[16] = 1
		head = w.head[:]
		m.Call.Encode(head[frameHead:])
	}
	w.bufs[0] = head
	w.conn.SetWriteDeadline(time.Now().Add(w.node.job.Timeout()))
	if err := w.node.job.Cause(); err != nil { // its write deadline may have come before ours
		return err
	}
	w.rest = w.bufs
	if _, err := w.rest.WriteTo(w.conn); err != nil {
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

// receive fills frames until the connection ends.
func (w *wire) receive() {
	defer close(w.filled)
	var head [frameHead + group.CallBytes]byte
	for {
		if _, err := io.ReadFull(w.conn, head[:frameHead]); err != nil {
			return
		}
		f := w.frames.take(w.quit)
		if f == nil {
			return
		}
		f.n = binary.LittleEndian.Uint32(head[:])
		size := int(binary.LittleEndian.Uint32(head[4:]))
		if size > w.node.cfg.ChunkBytes {
			return // not a frame of ours
		}
		f.view = group.View{Lo: int(binary.LittleEndian.Uint64(head[8:]))}
		if head[16] != 0 {
			if _, err := io.ReadFull(w.conn, head[frameHead:]); err != nil {
				return
			}
			f.call = group.DecodeCall(head[frameHead:])
			f.view.Call = &f.call
		}
		if len(f.buf) < size {
			f.buf = make([]byte, size)
		}
		f.view.Staged = f.buf[:size]
		if _, err := io.ReadFull(w.conn, f.view.Staged); err != nil {
			return
		}
		w.seen.Store(f.n + 1)
		w.filled <- f
	}
}

// await is the message of round n.
func (w *wire) await(n uint32, check func() error) (group.View, error) {
	f, err := w.next(check)
	if err != nil {
		return group.View{}, err
	}
	w.held = f
	if f.n != n {
		return group.View{}, fmt.Errorf("%s is in round %d of the group, this rank in %d", w.node.describe(w.rank), f.n, n)
	}
	return f.view, nil
}

func (w *wire) next(check func() error) (*frame, error) {
	select {
	case f, ok := <-w.filled:
		if !ok {
			return nil, w.lost()
		}
		return f, nil
	default:
	}
	began := time.Now()
	defer func() {
		if time.Since(began) > longWay {
			w.ahead = min(4*w.ahead, underWay)
		}
	}()
	p := newPatience(w.node.job.Timeout())
	if w.timer == nil {
		w.timer = time.NewTimer(p.next())
	}
	defer w.timer.Stop()
	for {
		d := p.next()
		if d == 0 {
			return nil, group.Timeout{World: w.rank}
		}
		start := time.Now()
		w.timer.Reset(d)
		select {
		case f, ok := <-w.filled:
			if !ok {
				return nil, w.lost()
			}
			return f, nil
		case <-w.node.job.Done():
			return nil, w.node.job.Cause()
		case <-w.timer.C:
			p.slept(time.Since(start))
			if err := check(); err != nil && len(w.filled) == 0 {
				return nil, err
			}
		}
	}
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

// release gives the awaited frame's buffer back.
func (w *wire) release() {
	if w.held != nil {
		w.frames.give(w.held)
		w.held = nil
	}
}

func (w *wire) close() {
	w.stop()
	close(w.quit)
	w.conn.Close()
}
