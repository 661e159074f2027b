// SPDX-License-Identifier: Apache-2.0

package local_test

import (
	"testing"

	"octet/comm"
	"octet/device"
	"octet/dtype"
)

// TestCallsAllocateNothing: beyond what the stream needs for a piece of work.
func TestCallsAllocateNothing(t *testing.T) {
	e := alone(t)
	stream, ok := e.Stream.(device.HostStream)
	if !ok {
		t.Skip("needs a device.HostStream")
	}
	x := e.New(dtype.Float32, 1000)
	list := comm.T(x, x)
	work := func() error { return nil }
	empty := testing.AllocsPerRun(100, func() {
		for range 4 {
			stream.Call("nothing", work)
		}
		e.Stream.Sync()
	})
	calls := testing.AllocsPerRun(100, func() {
		e.AllReduce(e.Stream, list, comm.Sum)
		e.AllGather(e.Stream, list, list)
		e.ReduceScatter(e.Stream, list, list, comm.Sum)
		e.Barrier(e.Stream)
		e.Stream.Sync()
	})
	if calls > empty {
		t.Errorf("four collectives allocate %v times, four empty pieces of work %v", calls, empty)
	}
}
