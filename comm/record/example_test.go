// SPDX-License-Identifier: Apache-2.0

package record_test

import (
	"fmt"

	"octet/backend"
	"octet/comm"
	"octet/comm/local"
	"octet/comm/record"
	"octet/device"
	"octet/dtype"
)

func Example() {
	dev, err := backend.OpenDevice(backend.Options{})
	if err != nil {
		panic(err)
	}
	defer dev.Close()
	log := &record.Log{Keep: true} // the calls, beside their counts
	c := record.New(local.New(1, local.Options{})[0], log)

	s := dev.NewStream("main")
	x := device.NewPool(dev).New(dtype.Float32, 8)
	s.Zero(x)
	c.AllReduce(s, comm.T(x), comm.Sum)
	c.AllReduce(s, comm.T(x.Rows(0, 2), x.Rows(2, 4)), comm.Sum)
	if err := s.Sync(); err != nil {
		panic(err)
	}
	fmt.Printf("%+v\n", log.Count(comm.AllReduce, dtype.Float32))
	for _, call := range log.Take() {
		fmt.Println(call)
	}
	// Output:
	// {Calls:2 Bytes:48}
	// world #1 all-reduce sum float32[8], 32 bytes
	// world #2 all-reduce sum float32[2] float32[2], 16 bytes
}
