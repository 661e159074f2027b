// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"

	"octet/comm"
	"octet/comm/internal/group"
)

// shm is what the members of a group on one host share: a seat per member.
// Only its owner writes to a seat.
//
//	0     posted: rounds whose messages are there
//	64    done: rounds that the owner has read
//	128   a head per message: Call, flags, tensors if lent, Lo, Slice
//	1024  group.Depth messages of chunk bytes, or where lent ones are
type shm struct {
	mem   []byte
	chunk int
	me    int // seat of this rank
	seats []seat
	lending
}

type seat struct {
	posted, done counter
	mem          []byte
}

const (
	seatDone  = 64
	seatHeads = 128
	seatData  = 1024
	headBytes = 128
	headFlag  = comm.CallBytes // 1: the Call is set, 2: a part for each rank, 4: lent
	headLent  = comm.CallBytes + 4
	headLo    = comm.CallBytes + 8
	headSlice = comm.CallBytes + 16
)

func seatBytes(chunk int) int { return (seatData + group.Depth*chunk + 4095) &^ 4095 }

func newShm(mem []byte, members, me, chunk int) *shm {
	s := &shm{mem: mem, chunk: chunk, me: me}
	for i := range members {
		m := mem[i*seatBytes(chunk) : (i+1)*seatBytes(chunk)]
		s.seats = append(s.seats, seat{counterAt(m, 0), counterAt(m, seatDone), m})
	}
	return s
}

// wake ends all sleeps.
func (s *shm) wake() {
	for i := range s.seats {
		s.seats[i].posted.wake()
		s.seats[i].done.wake()
	}
}

func (s *seat) head(n uint32) []byte {
	at := seatHeads + int(n%group.Depth)*headBytes
	return s.mem[at : at+headBytes]
}

func (s *seat) data(n uint32, chunk int) []byte {
	at := seatData + int(n%group.Depth)*chunk
	return s.mem[at : at+chunk]
}

// write lends or stages m as this rank's message of round n. The slot must be free.
// ranks are the members' ranks in the group, window the bytes of a part.
func (s *shm) write(n uint32, m *group.Message, ranks []int, window int) {
	own := &s.seats[s.me]
	data := own.data(n, s.chunk)
	lent := s.offer(data, m)
	switch {
	case lent:
		s.lends, s.until = true, n
	case !m.PerRank():
		m.Gather(data, 0)
	default:
		for i, r := range ranks {
			if i != s.me {
				m.Gather(data[r*window:(r+1)*window], r)
			}
		}
	}
	head := own.head(n)
	head[headFlag] = 0
	if m.Call != nil {
		m.Call.Encode(head)
		head[headFlag] = 1
	}
	if m.Addressed || m.PerRank() && !lent { // what is lent is whole: who reads a slice finds it there
		head[headFlag] |= 2
	}
	if lent {
		head[headFlag] |= 4
		binary.LittleEndian.PutUint32(head[headLent:], uint32(len(m.Bufs)))
	}
	binary.LittleEndian.PutUint64(head[headLo:], uint64(m.Lo))
	binary.LittleEndian.PutUint64(head[headSlice:], uint64(m.Slice))
	own.posted.set(n + 1)
}

// read is the message of round n in seat i, for rank of the group. call is
// where its Call is put.
func (s *shm) read(n uint32, i, rank, window int, call *comm.Call) (v group.View, err error) {
	head := s.seats[i].head(n)
	data := s.seats[i].data(n, s.chunk)
	le := binary.LittleEndian
	part := 0
	if head[headFlag]&2 != 0 {
		part = rank
	}
	if head[headFlag]&4 != 0 {
		v.Lent, err = s.accept(data, i, int(le.Uint32(head[headLent:])), part)
	} else {
		v.Staged, v.Lo = data[part*window:], int(le.Uint64(head[headLo:]))+rank*int(le.Uint64(head[headSlice:]))
	}
	if head[headFlag]&1 != 0 {
		*call = comm.DecodeCall(head)
		v.Call = call
	}
	return v, err
}
