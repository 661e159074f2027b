// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"errors"
	"fmt"

	"octet/comm/internal/group"
	"octet/internal/arena"
)

// A message whose tensors lie in the sender's arena need not be copied: it is lent. Its slot has where the tensors are, 16
// bytes each:
//
//	0  offset in the arena of the tensor or, where addressed, of its first part
//	8  bytes of the tensor or of a part
//
// The sender's call does not end before all have read (link.Finish), unless the job is aborted. Then the sender may
// use its memory anew while others read it: so a call that read lent memory fails if the job was aborted by its end. What was
// read while nobody had aborted was still as it had been sent.

// lendFrom is how many bytes are lent: to copy fewer takes less time than to wait until they are read.
const lendFrom = 32 << 10

const placeBytes = 16

// lending is what a rank's shm has to lend messages, and to read those that others lend.
type lending struct {
	own      *arena.Arena    // nil: messages are copied
	maps     []*arena.Map    // by seat
	messages []group.Message // by seat: as it was read last
	until    uint32          // the last round in which this rank has lent, if lends
	lends    bool            // since the last Finish
	borrowed bool            // likewise: read what others lent
}

func newLending(n *node, here []int) lending {
	l := lending{own: n.cfg.Arena, messages: make([]group.Message, len(here))}
	for _, r := range here {
		l.maps = append(l.maps, n.maps[r])
	}
	return l
}

// offer writes to slot where the tensors of m are, if they can be lent.
func (l *lending) offer(slot []byte, m *group.Message) bool {
	if l.own == nil || m.Hi-m.Lo < lendFrom || len(m.Bufs)*placeBytes > len(slot) {
		return false
	}
	for i, b := range m.Bufs {
		at, ok := 0, len(b) == 0
		if !ok {
			if at, ok = l.own.Offset(b); !ok {
				return false
			}
		}
		binary.LittleEndian.PutUint64(slot[i*placeBytes:], uint64(at))
		binary.LittleEndian.PutUint64(slot[i*placeBytes+8:], uint64(m.Layout.Len[i]))
	}
	return true
}

// accept is the message of n tensors that the rank in a seat lends, of which this rank reads part part.
func (l *lending) accept(slot []byte, seat, n, part int) (*group.Message, error) {
	m := &l.messages[seat]
	m.Bufs = m.Bufs[:0]
	if n > len(slot)/placeBytes || l.own == nil {
		return nil, fmt.Errorf("a message of %d tensors is lent", n)
	}
	for i := range n {
		at, size := binary.LittleEndian.Uint64(slot[i*placeBytes:]), binary.LittleEndian.Uint64(slot[i*placeBytes+8:])
		if part > 0 && size > 1<<48 {
			return nil, fmt.Errorf("tensor %d of a lent message has %d bytes", i, size)
		}
		b, ok := l.maps[seat].At(at+uint64(part)*size, size)
		if !ok {
			return nil, fmt.Errorf("tensor %d of a lent message, %d bytes at %d, is not in the memory of its rank", i, size, at)
		}
		m.Bufs = append(m.Bufs, b)
	}
	l.borrowed = true
	return m, nil
}

// errAborting is the error of a call whose data may have changed while it was read.
var errAborting = errors.New("another rank is aborting the job")

// finishLent waits until what this rank has lent is read, and checks what it has read itself.
func (l *link) finishLent() error {
	s := l.shm
	lends, borrowed := s.lends, s.borrowed
	s.lends, s.borrowed = false, false
	for i, q := range l.ranks {
		if lends && q != l.me {
			if err := l.wait(q, s.seats[i].done, s.until+1); err != nil {
				return err
			}
		}
	}
	if borrowed && l.node.page.stirs() {
		if err := l.node.job.Cause(); err != nil {
			return err
		}
		return errAborting
	}
	return nil
}
