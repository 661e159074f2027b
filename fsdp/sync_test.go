// SPDX-License-Identifier: Apache-2.0

package fsdp_test

import (
	"errors"
	"testing"
	"time"

	"octet/comm/grid"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/fsdp"
	"octet/nn"
	"octet/test/ranks"
)

// noted is a device that knows its streams by their names.
type noted struct {
	device.Device
	streams map[string]device.Stream
}

func (n noted) NewStream(name string) device.Stream {
	n.streams[name] = n.Device.NewStream(name)
	return n.streams[name]
}

// streams are those that FSDP has beside the one that computes.
var streams = []string{"all-gather", "reduce-scatter", "all-reduce"}

// allocated is a module of two replicas, and its streams by their names.
func allocated(r *ranks.Rank) (*fsdp.FSDP, noted, error) {
	dev := noted{r.Device, map[string]device.Stream{}}
	mesh, err := dtensor.NewMesh(2, dtensor.Axis{Name: fsdp.ReplicaAxis, Size: 2}, dtensor.Axis{Name: fsdp.Axis, Size: 1})
	if err != nil {
		return nil, dev, err
	}
	g, err := grid.New(mesh, r.World)
	if err != nil {
		return nil, dev, err
	}
	var model nn.Module = nn.NewLinear(4, 4, nn.LinearOptions{Init: nn.Normal(1)})
	f, err := fsdp.Shard(&model, g, fsdp.Options{Param: dtype.Float32}, func(string, nn.Module) bool { return false })
	if err != nil {
		return nil, dev, err
	}
	return f, dev, f.Allocate(dev)
}

// TestSyncTellsOfGathersAndReductions: an error on any of the streams, of which no other stream need have waited.
func TestSyncTellsOfGathersAndReductions(t *testing.T) {
	for _, stream := range streams {
		ranks.Run(t, 2, ranks.Options{}, func(r *ranks.Rank) error {
			f, dev, err := allocated(r)
			if err != nil {
				return err
			}
			host, ok := dev.streams[stream].(device.HostStream)
			if !ok {
				t.Skipf("a stream of %s runs no code of the host", r.Device.Name())
			}
			lost := errors.New("lost")
			host.Call("a collective", func() error { return lost })
			if err := f.Sync(); !errors.Is(err, lost) {
				t.Errorf("an error on stream %s: Sync returns %v", stream, err)
			}
			return f.Sync()
		})
	}
}

// TestJoinWaitsForEveryStream: the launch of a graph (parallel.Graph) begins behind it.
func TestJoinWaitsForEveryStream(t *testing.T) {
	for _, stream := range streams {
		ranks.Run(t, 2, ranks.Options{}, func(r *ranks.Rank) error {
			f, dev, err := allocated(r)
			if err != nil {
				return err
			}
			compute, ok := r.Device.NewStream("compute").(device.HostStream)
			if !ok {
				t.Skipf("a stream of %s runs no code of the host", r.Device.Name())
			}
			before := false // written and read on streams that only Join puts in order
			gate := make(chan struct{})
			dev.streams[stream].(device.HostStream).Call("work", func() error { <-gate; before = true; return nil })
			f.Join(&nn.Ctx{Stream: compute})
			came := make(chan bool, 1)
			compute.Call("after Join", func() error { came <- before; return nil })
			var joined bool
			select {
			case joined = <-came: // too early, if at all
				close(gate)
			case <-time.After(20 * time.Millisecond):
				close(gate)
				joined = <-came
			}
			if !joined {
				t.Errorf("what follows Join has run before the work of stream %s", stream)
			}
			return errors.Join(compute.Sync(), f.Sync())
		})
	}
}
