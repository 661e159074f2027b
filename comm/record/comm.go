// SPDX-License-Identifier: Apache-2.0

package record

import (
	"fmt"
	"time"

	"octet/comm"
	"octet/device"
	"octet/device/trace"
	"octet/tensor"
)

// recorder is a comm.Comm that writes down what it passes on.
type recorder struct {
	comm.Comm
	comm.Control
	log *Log
	seq int
	one [1]*tensor.Tensor // the list of a broadcast
}

var (
	_ comm.Comm    = (*recorder)(nil)
	_ comm.Control = (*recorder)(nil)
)

// New records what c is asked to do, and what the groups split from it are, in
// log. The result implements comm.Control if c does; otherwise only its names mean
// something, the first of which is "group". Where c makes groups without other ranks
// (comm/null), so does the result.
func New(c comm.Comm, log *Log) comm.Comm {
	control, ok := c.(comm.Control)
	if !ok {
		control = &uncontrolled{"group"}
	}
	r := &recorder{Comm: c, Control: control, log: log}
	if _, ok := c.(comm.Alone); ok {
		return aloneRecorder{r}
	}
	return r
}

// aloneRecorder records one.
type aloneRecorder struct{ *recorder }

// Of is a group like that of the communicator that it records.
func (r aloneRecorder) Of(rank, size int) comm.Comm {
	return New(r.Comm.(comm.Alone).Of(rank, size), r.log)
}

// add writes a call down, and begins a span of a stream that is traced; the call goes to inner.
func (r *recorder) add(s device.Stream, call Call, ts []*tensor.Tensor) (inner device.Stream, m trace.Mark) {
	r.seq++
	call.Group, call.Ranks, call.Seq = r.Name(), r.Size(), r.seq
	r.log.add(call, ts)
	return trace.Begin(s, func() trace.Span { return call.span(ts) })
}

// span is the call as a piece of its stream's work.
func (c Call) span(ts []*tensor.Tensor) trace.Span {
	span := trace.Span{Kind: trace.Collective, Name: c.Kind.String(), Group: c.Group, Seq: c.Seq, Ranks: c.Ranks}
	switch {
	case c.Kind.Reduces():
		span.Of = c.Op.String()
	case c.Kind == comm.Broadcast:
		span.Of = fmt.Sprint("from ", c.Root)
	}
	for _, t := range ts {
		span.Args = append(span.Args, trace.Arg{Type: t.Type, Shape: t.Shape})
		span.Bytes += int64(t.Bytes())
	}
	return span
}

func (r *recorder) AllGather(s device.Stream, dst, src []*tensor.Tensor) {
	call := Call{Kind: comm.AllGather}
	for i := range src {
		if !comm.InPlace(dst[i], src[i], r.Rank()) {
			call.Copied += int64(src[i].Bytes())
		}
	}
	s, m := r.add(s, call, src)
	r.Comm.AllGather(s, dst, src)
	m.End()
}

func (r *recorder) ReduceScatter(s device.Stream, dst, src []*tensor.Tensor, op comm.Op) {
	call := Call{Kind: comm.ReduceScatter, Op: op}
	for i := range src {
		if r.Size() == 1 && !comm.InPlace(src[i], dst[i], 0) {
			call.Copied += int64(src[i].Bytes())
		}
	}
	s, m := r.add(s, call, src)
	r.Comm.ReduceScatter(s, dst, src, op)
	m.End()
}

func (r *recorder) AllReduce(s device.Stream, ts []*tensor.Tensor, op comm.Op) {
	s, m := r.add(s, Call{Kind: comm.AllReduce, Op: op}, ts)
	r.Comm.AllReduce(s, ts, op)
	m.End()
}

func (r *recorder) Broadcast(s device.Stream, t *tensor.Tensor, root int) {
	r.one[0] = t
	s, m := r.add(s, Call{Kind: comm.Broadcast, Root: root}, r.one[:])
	r.Comm.Broadcast(s, t, root)
	m.End()
}

func (r *recorder) AllToAll(s device.Stream, dst, src []*tensor.Tensor) {
	call := Call{Kind: comm.AllToAll}
	for i := range src {
		if r.Size() > 1 || !comm.InPlace(dst[i], src[i], 0) {
			call.Copied += int64(src[i].Bytes() / r.Size())
		}
	}
	s, m := r.add(s, call, src)
	r.Comm.AllToAll(s, dst, src)
	m.End()
}

func (r *recorder) Barrier(s device.Stream) {
	s, m := r.add(s, Call{Kind: comm.Barrier}, nil)
	r.Comm.Barrier(s)
	m.End()
}

func (r *recorder) Split(color, key int) (comm.Comm, error) {
	c, err := r.Comm.Split(color, key)
	if c == nil || err != nil {
		return nil, err
	}
	return New(c, r.log), nil
}

// uncontrolled is the Control of a communicator that has none.
type uncontrolled struct{ name string }

func (u *uncontrolled) Name() string           { return u.name }
func (u *uncontrolled) SetName(name string)    { u.name = name }
func (*uncontrolled) SetTimeout(time.Duration) {}
func (*uncontrolled) Close() error             { return nil }
