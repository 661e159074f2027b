// SPDX-License-Identifier: Apache-2.0

package comm_test

import (
	"fmt"
	"sync"

	"octet/backend"
	"octet/comm"
	"octet/comm/local"
	"octet/device"
	"octet/dtype"
)

// Four ranks make the sum over all, then split in two pairs and make those of the pairs.
func Example() {
	sums := make([][2]float32, 4)
	var ranks sync.WaitGroup
	for rank, world := range local.New(len(sums), local.Options{}) {
		ranks.Go(func() {
			dev, err := backend.OpenDevice(backend.Options{})
			if err != nil {
				panic(err)
			}
			defer dev.Close()
			pair, err := world.Split(rank%2, rank)
			if err != nil {
				panic(err)
			}
			s := dev.NewStream("main")
			x := device.NewPool(dev).New(dtype.Float32, 1)
			for i, c := range []comm.Comm{world, pair} {
				s.Upload(x, device.Float32Bytes([]float32{float32(rank)}))
				c.AllReduce(s, comm.T(x), comm.Sum) // in place; returns at once
				s.Download(device.Float32Bytes(sums[rank][i:i+1]), x)
			}
			if err := s.Sync(); err != nil { // errors of collectives arrive here
				panic(err)
			}
		})
	}
	ranks.Wait()
	fmt.Println(sums)
	// Output: [[6 2] [6 4] [6 2] [6 4]]
}
