// SPDX-License-Identifier: Apache-2.0

package fsdp_test

import (
	"errors"
	"testing"

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

// TestSyncTellsOfGathersAndReductions: an error on any of the streams, of which no other stream need have waited.
func TestSyncTellsOfGathersAndReductions(t *testing.T) {
	for _, stream := range []string{"all-gather", "reduce-scatter", "all-reduce"} {
		ranks.Run(t, 2, ranks.Options{}, func(r *ranks.Rank) error {
			mesh, err := dtensor.NewMesh(2, dtensor.Axis{Name: fsdp.ReplicaAxis, Size: 2}, dtensor.Axis{Name: fsdp.Axis, Size: 1})
			if err != nil {
				return err
			}
			g, err := grid.New(mesh, r.World)
			if err != nil {
				return err
			}
			var model nn.Module = nn.NewLinear(4, 4, nn.LinearOptions{Init: nn.Normal(1)})
			f, err := fsdp.Shard(&model, g, fsdp.Options{Param: dtype.Float32}, func(string, nn.Module) bool { return false })
			if err != nil {
				return err
			}
			dev := noted{r.Device, map[string]device.Stream{}}
			if err := f.Allocate(dev); err != nil {
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
