// SPDX-License-Identifier: Apache-2.0

package group

import (
	"encoding/binary"
	"fmt"
	"strings"

	"octet/comm"
	"octet/dtype"
)

// described is how many tensors of a list a Call spells out; the rest only
// enter its hash.
const described = 4

// Call is what all ranks of a group must agree on before data moves. It is
// comparable and travels as CallBytes bytes.
type Call struct {
	Kind  comm.Kind
	Op    comm.Op
	Root  int32
	Seq   uint64 // 1 for the first call of the group
	Lists uint32 // tensors in the call
	Hash  uint64 // over types and element counts of all tensors, in order
	Bytes uint64 // contributed by this rank, all tensors together
	Types [described]dtype.Type
	Elems [described]uint64
}

// CallBytes is the size of an encoded Call.
const CallBytes = 8 + 8 + 8 + 8 + 8 + 8*described

// Encode writes c to the first CallBytes bytes of b.
func (c *Call) Encode(b []byte) {
	le := binary.LittleEndian
	b[0], b[1] = byte(c.Kind), byte(c.Op)
	b[2], b[3] = 0, 0
	for i, t := range c.Types {
		b[4+i] = byte(t)
	}
	le.PutUint32(b[8:], uint32(c.Root))
	le.PutUint32(b[12:], c.Lists)
	le.PutUint64(b[16:], c.Seq)
	le.PutUint64(b[24:], c.Hash)
	le.PutUint64(b[32:], c.Bytes)
	for i, n := range c.Elems {
		le.PutUint64(b[40+8*i:], n)
	}
}

// DecodeCall is the inverse of Encode.
func DecodeCall(b []byte) (c Call) {
	le := binary.LittleEndian
	c.Kind, c.Op = comm.Kind(b[0]), comm.Op(b[1])
	for i := range c.Types {
		c.Types[i] = dtype.Type(b[4+i])
	}
	c.Root = int32(le.Uint32(b[8:]))
	c.Lists = le.Uint32(b[12:])
	c.Seq = le.Uint64(b[16:])
	c.Hash = le.Uint64(b[24:])
	c.Bytes = le.Uint64(b[32:])
	for i := range c.Elems {
		c.Elems[i] = le.Uint64(b[40+8*i:])
	}
	return c
}

// add enters one more tensor of n elements that this rank contributes.
func (c *Call) add(t dtype.Type, n int) {
	if c.Lists < described {
		c.Types[c.Lists], c.Elems[c.Lists] = t, uint64(n)
	}
	const prime = 1099511628211 // FNV-1a
	c.Hash = (c.Hash ^ uint64(t)) * prime
	c.Hash = (c.Hash ^ uint64(n)) * prime
	c.Bytes += uint64(n * t.Size())
	c.Lists++
}

// String is such as "reduce-scatter sum of 2 tensors, float32[1024] bfloat16[8]
// (4112 bytes)".
func (c *Call) String() string {
	var b strings.Builder
	b.WriteString(c.Kind.String())
	if c.Kind.Reduces() {
		fmt.Fprintf(&b, " %v", c.Op)
	}
	if c.Kind == comm.Broadcast {
		fmt.Fprintf(&b, " from rank %d", c.Root)
	}
	if c.Kind == comm.Barrier {
		return b.String()
	}
	b.WriteString(" of ")
	if c.Lists != 1 {
		fmt.Fprintf(&b, "%d tensors, ", c.Lists)
	}
	for i := range min(c.Lists, described) {
		fmt.Fprintf(&b, "%v[%d] ", c.Types[i], c.Elems[i])
	}
	if c.Lists > described {
		b.WriteString("and more, ")
	}
	fmt.Fprintf(&b, "(%d bytes)", c.Bytes)
	return b.String()
}
