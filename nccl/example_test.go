// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package nccl_test

import (
	"fmt"

	"octet/backend"
	"octet/comm"
	"octet/comm/local"
	"octet/device"
	"octet/dtype"
	"octet/nccl"
)

// A job of one rank needs no NCCL, and any device will do.
func ExampleConnect() {
	dev, err := backend.OpenDevice(backend.Options{})
	if err != nil {
		panic(err)
	}
	defer dev.Close()
	world, err := nccl.Connect(dev, local.Control(1, local.Options{})[0], nccl.Options{})
	if err != nil {
		panic(err)
	}
	defer world.(comm.Control).Close()
	s, pool := dev.NewStream("main"), device.NewPool(dev)
	shard, whole := pool.New(dtype.Uint8, 3), pool.New(dtype.Uint8, 3)
	s.Upload(shard, []byte{1, 2, 3})
	world.AllGather(s, comm.T(whole), comm.T(shard))
	got := make([]byte, 3)
	s.Download(got, whole)
	fmt.Println(got, s.Sync())
	// Output: [1 2 3] <nil>
}
