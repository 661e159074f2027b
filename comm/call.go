// SPDX-License-Identifier: Apache-2.0

package comm

import (
	"encoding/binary"
	"fmt"
	"strings"

	"octet/dtype"
	"octet/tensor"
)

// described is how many tensors of a list a Call spells out; the rest only
// enter its hash.
const described = 4

// Call is a collective as all ranks of a group must agree on it. It is comparable
// and travels as CallBytes bytes.
type Call struct {
	Kind  Kind
	Op    Op
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
	c.Kind, c.Op = Kind(b[0]), Op(b[1])
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

// Describe checks the arguments of a collective among so many ranks and makes its
// Call, whose Seq is left to the group. dst is src where a collective works in
// place. Wrong ones are a programmer's error and panic.
func Describe(k Kind, op Op, root, ranks int, dst, src []*tensor.Tensor) Call {
	c := Call{Kind: k, Op: op, Root: int32(root)}
	if len(dst) != len(src) {
		panic(fmt.Sprintf("comm: %v to %d tensors from %d", k, len(dst), len(src)))
	}
	if root < 0 || root >= ranks {
		panic(fmt.Sprintf("comm: %v of %v from rank %d of a group of %d", k, src[0], root, ranks))
	}
	times, of := 1, 1 // dst has times/of the elements of src
	switch k {
	case AllGather:
		times = ranks
	case ReduceScatter:
		of = ranks
	}
	for i, t := range src {
		if dst[i].Type != t.Type || dst[i].Numel()*of != t.Numel()*times {
			panic(fmt.Sprintf("comm: %v among %d ranks to %v from %v", k, ranks, dst[i], t))
		}
		if k == AllToAll && t.Numel()%ranks != 0 {
			panic(fmt.Sprintf("comm: all-to-all of %v among %d ranks: its elements do not divide", t, ranks))
		}
		if integers := t.Type == dtype.Int32 && k == AllReduce; k.Reduces() && !integers && t.Type != dtype.Float32 && t.Type != dtype.BFloat16 {
			panic(fmt.Sprintf("comm: %v %v of %v", k, op, t))
		}
		c.add(t.Type, t.Numel())
	}
	return c
}

// Mismatch is the error of two ranks of the world that make different calls.
func Mismatch(rank int, call *Call, other int, its *Call) error {
	if other < rank {
		rank, call, other, its = other, its, rank, call
	}
	detail := ""
	if call.String() == its.String() {
		detail = " (the lists differ further on)"
	}
	return fmt.Errorf("ranks make different calls: rank %d calls %v; rank %d calls %v%s", rank, call, other, its, detail)
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

// Title names the call in errors.
func (c *Call) Title(group string) string {
	return fmt.Sprintf("%v #%d of group %q (%d bytes)", c.Kind, c.Seq, group, c.Bytes)
}

// String is such as "reduce-scatter sum of 2 tensors, float32[1024] bfloat16[8]
// (4112 bytes)".
func (c *Call) String() string {
	var b strings.Builder
	b.WriteString(c.Kind.String())
	if c.Kind.Reduces() {
		fmt.Fprintf(&b, " %v", c.Op)
	}
	if c.Kind == Broadcast {
		fmt.Fprintf(&b, " from rank %d", c.Root)
	}
	if c.Kind == Barrier {
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
