// SPDX-License-Identifier: Apache-2.0

package local_test

import (
	"fmt"
	"sync"

	"octet/backend"
	"octet/comm"
	"octet/comm/local"
	"octet/device"
	"octet/dtype"
)

// Two goroutine ranks gather their tensors, each on a stream of its own.
func ExampleNew() {
	dev, err := backend.OpenDevice(backend.Options{})
	if err != nil {
		panic(err)
	}
	defer dev.Close()
	var ranks sync.WaitGroup
	for rank, c := range local.New(2, local.Options{}) {
		s := dev.NewStream(fmt.Sprint("rank ", rank))
		x := device.NewPool(dev).New(dtype.Uint8, 4)
		s.Upload(x, []byte{byte(rank), 1, 2, 3})
		ranks.Go(func() {
			whole := device.NewPool(dev).New(dtype.Uint8, 8)
			c.AllGather(s, comm.T(whole), comm.T(x))
			got := make([]byte, 8)
			s.Download(got, whole)
			if err := s.Sync(); err != nil {
				fmt.Println(err)
			}
			if rank == 0 {
				fmt.Println(got)
			}
		})
	}
	ranks.Wait()
	// Output: [0 1 2 3 1 1 2 3]
}
