// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"context"
	"fmt"
	"sync"

	"octet/backend"
	"octet/comm"
	"octet/comm/host"
	"octet/comm/store"
	"octet/device"
	"octet/dtype"
)

// What each of two processes of a host does; they would meet in a store.Client each.
func Example() {
	meeting := store.NewMemory()
	sums := make([]float32, 2)
	rank := func(rank int) error {
		dev, err := backend.OpenDevice(backend.Options{})
		if err != nil {
			return err
		}
		defer dev.Close()
		c, err := host.Connect(context.Background(), host.Config{Rank: rank, World: 2, Store: meeting, RunID: "example"})
		if err != nil {
			return err
		}
		defer c.(comm.Control).Close() // before the device whose memory it reads
		s := dev.NewStream("main")
		x := device.NewPool(dev).New(dtype.Float32, 1)
		s.Upload(x, device.Float32Bytes([]float32{float32(rank + 1)}))
		c.AllReduce(s, comm.T(x), comm.Sum)
		s.Download(device.Float32Bytes(sums[rank:rank+1]), x)
		return s.Sync()
	}
	var both sync.WaitGroup
	for i := range sums {
		both.Go(func() {
			if err := rank(i); err != nil {
				fmt.Println(err)
			}
		})
	}
	both.Wait()
	fmt.Println(sums)
	// Output: [3 3]
}
