// SPDX-License-Identifier: Apache-2.0

package slow_test

import (
	"fmt"
	"time"

	"octet/backend"
	"octet/comm"
	"octet/comm/local"
	"octet/comm/slow"
	"octet/device"
	"octet/dtype"
)

func Example() {
	dev, err := backend.OpenDevice(backend.Options{})
	if err != nil {
		panic(err)
	}
	defer dev.Close()
	link := slow.NewLink(2*time.Millisecond, 1e9)
	c := slow.New(local.New(1, local.Options{})[0], link) // one rank waits for nobody
	s := dev.NewStream("main")
	x := device.NewPool(dev).New(dtype.Float32, 8)
	c.AllGather(s, comm.T(x), comm.T(x))
	fmt.Println(s.Sync())
	// Output: <nil>
}
