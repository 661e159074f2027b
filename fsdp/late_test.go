// SPDX-License-Identifier: Apache-2.0

package fsdp_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"octet/comm"
	"octet/device"
	"octet/tensor"
)

// late is a group whose collectives of some kinds take long: the stream that they are on stands still before they begin, the
// other streams and the host go on.
type late struct {
	comm.Comm
	kinds []comm.Kind
}

func (c late) delay(s device.Stream, kind comm.Kind) {
	if host, ok := s.(device.HostStream); ok && slices.Contains(c.kinds, kind) { // others order their streams as they do
		host.Call("late", func() error { time.Sleep(4 * time.Millisecond); return nil })
	}
}

func (c late) AllGather(s device.Stream, dst, src []*tensor.Tensor) {
	c.delay(s, comm.AllGather)
	c.Comm.AllGather(s, dst, src)
}

func (c late) ReduceScatter(s device.Stream, dst, src []*tensor.Tensor, op comm.Op) {
	c.delay(s, comm.ReduceScatter)
	c.Comm.ReduceScatter(s, dst, src, op)
}

func (c late) AllReduce(s device.Stream, ts []*tensor.Tensor, op comm.Op) {
	c.delay(s, comm.AllReduce)
	c.Comm.AllReduce(s, ts, op)
}

func (c late) Split(color, key int) (comm.Comm, error) {
	g, err := c.Comm.Split(color, key)
	return late{g, c.kinds}, err
}

// TestLateCollectivesChangeNoBit: whichever of a step's collectives comes last. What replicas add up is no memory that a later unit's
// reduction or microbatch writes to (PyTorch's HSDP once had such an alias), what is gathered none that is lent out again too early, and nobody reads a
// gradient before it is that of all replicas.
func TestLateCollectivesChangeNoBit(t *testing.T) {
	for name, j := range map[string]job{
		"two replicas of 2":                     {ranks: 4, replicas: 2, batch: 8, options: f32},
		"two replicas of 2, two microbatches":   {ranks: 4, replicas: 2, batch: 16, micro: 2, options: f32},
		"two replicas of 1, three microbatches": {ranks: 2, replicas: 2, batch: 12, micro: 3, options: f32},
		"3 shards":                              {ranks: 3, batch: 6, micro: 2, options: f32},
	} {
		j.args, j.steps = uneven, 4
		want := run(t, j)
		for _, kinds := range [][]comm.Kind{{comm.AllReduce}, {comm.ReduceScatter}, {comm.AllGather}, {comm.ReduceScatter, comm.AllReduce}} {
			t.Run(fmt.Sprintf("%s, late %v", name, kinds), func(t *testing.T) {
				j.over = func(world comm.Comm) comm.Comm { return late{world, kinds} }
				sameBits(t, fmt.Sprint("late ", kinds), want, run(t, j))
			})
		}
	}
}
