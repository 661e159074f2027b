// SPDX-License-Identifier: Apache-2.0

package record

import (
	"time"

	"octet/comm"
	"octet/device"
	"octet/tensor"
)

// recorder is a comm.Comm that writes down what it passes on.
type recorder struct {
	comm.Comm
	comm.Control
	log *Log
	seq int
	one [1]*tensor.Tensor // the list of calls with one tensor
}

var (
	_ comm.Comm    = (*recorder)(nil)
	_ comm.Control = (*recorder)(nil)
)

// New records what c is asked to do, and what the groups split from it are, in
// log. The result implements comm.Control if c does; otherwise its methods do
// nothing and the group is called "group".
func New(c comm.Comm, log *Log) comm.Comm {
	control, ok := c.(comm.Control)
	if !ok {
		control = uncontrolled{}
	}
	return &recorder{Comm: c, Control: control, log: log}
}

func (r *recorder) add(call Call, ts []*tensor.Tensor) {
	r.seq++
	call.Group, call.Seq = r.Name(), r.seq
	r.log.add(call, ts)
}

// single is a list of one tensor that needs no allocation.
func (r *recorder) single(t *tensor.Tensor) []*tensor.Tensor {
	r.one[0] = t
	return r.one[:]
}

func (r *recorder) AllGather(s device.Stream, dst, src []*tensor.Tensor) {
	r.add(Call{Kind: comm.AllGather}, src)
	r.Comm.AllGather(s, dst, src)
}

func (r *recorder) ReduceScatter(s device.Stream, dst, src []*tensor.Tensor, op comm.Op) {
	r.add(Call{Kind: comm.ReduceScatter, Op: op}, src)
	r.Comm.ReduceScatter(s, dst, src, op)
}

func (r *recorder) AllReduce(s device.Stream, t *tensor.Tensor, op comm.Op) {
	r.add(Call{Kind: comm.AllReduce, Op: op}, r.single(t))
	r.Comm.AllReduce(s, t, op)
}

func (r *recorder) Broadcast(s device.Stream, t *tensor.Tensor, root int) {
	r.add(Call{Kind: comm.Broadcast, Root: root}, r.single(t))
	r.Comm.Broadcast(s, t, root)
}

func (r *recorder) AllToAll(s device.Stream, dst, src *tensor.Tensor) {
	r.add(Call{Kind: comm.AllToAll}, r.single(src))
	r.Comm.AllToAll(s, dst, src)
}

func (r *recorder) Barrier(s device.Stream) {
	r.add(Call{Kind: comm.Barrier}, nil)
	r.Comm.Barrier(s)
}

func (r *recorder) Split(color, key int) (comm.Comm, error) {
	c, err := r.Comm.Split(color, key)
	if c == nil || err != nil {
		return nil, err
	}
	return New(c, r.log), nil
}

// uncontrolled is the Control of a communicator that has none.
type uncontrolled struct{}

func (uncontrolled) Name() string             { return "group" }
func (uncontrolled) SetName(string)           {}
func (uncontrolled) SetTimeout(time.Duration) {}
func (uncontrolled) Close() error             { return nil }
