// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"octet/comm"
)

// control is the connection with a rank of another host that carries no data:
// an abort, whether the process runs, a good-bye, and by its end the peer's death.
//
//	'A', 4 bytes rank, 4 bytes length, text of the cause
//	'R'  asks for an 'H', here
//	'B'
type control struct {
	node  *node
	rank  int
	conn  net.Conn
	bye   atomic.Bool
	mine  atomic.Bool   // this rank closes the connection
	here  chan struct{} // of one: the peer has answered
	ended chan struct{} // closed when nothing more will come
}

// maxCause bounds the text of an abort that a peer sends.
const maxCause = 1 << 20

func newControl(n *node, rank int, conn net.Conn) *control {
	return &control{node: n, rank: rank, conn: conn, here: make(chan struct{}, 1), ended: make(chan struct{})}
}

// receive runs until the connection ends.
func (c *control) receive() {
	defer close(c.ended)
	var head [9]byte
	for {
		if _, err := io.ReadFull(c.conn, head[:1]); err != nil {
			break
		}
		switch head[0] {
		case 'B':
			c.bye.Store(true)
			return
		case 'R':
			c.node.publish()
			c.write([]byte{'H'})
			continue
		case 'H':
			select {
			case c.here <- struct{}{}:
			default:
			}
			continue
		}
		if _, err := io.ReadFull(c.conn, head[1:]); err != nil {
			break
		}
		text := make([]byte, min(binary.LittleEndian.Uint32(head[5:]), maxCause))
		if _, err := io.ReadFull(c.conn, text); err != nil {
			break
		}
		c.node.job.Hear(&comm.AbortError{Rank: int(binary.LittleEndian.Uint32(head[1:])), Err: errors.New(string(text))})
	}
	if !c.mine.Load() {
		c.node.gone(c.rank)
	}
}

// tell sends an abort. It does not wait for a peer that does not read.
func (c *control) tell(e *comm.AbortError) {
	text := e.Err.Error()
	text = text[:min(len(text), maxCause)]
	b := binary.LittleEndian.AppendUint32([]byte{'A'}, uint32(e.Rank))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
	c.write(append(b, text...))
}

// write gives up after a second: a peer that is gone need not know.
func (c *control) write(b []byte) {
	c.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.conn.Write(b)
}

// ask asks whether the peer's process runs, and returns a function that reports
// whether it has answered, or left, before a moment.
func (c *control) ask() (answers func(by time.Time) bool) {
	select {
	case <-c.here: // of an earlier time
	default:
	}
	c.write([]byte{'R'})
	return func(by time.Time) bool {
		select {
		case <-c.here:
			return true
		case <-time.After(time.Until(by)):
		}
		select {
		case <-c.here: // while others were waited for
			return true
		default:
			return c.left()
		}
	}
}

func (c *control) left() bool { return c.bye.Load() }

// leave says good-bye and ends the connection.
func (c *control) leave() {
	c.mine.Store(true)
	c.write([]byte{'B'})
	c.conn.Close()
}
