// SPDX-License-Identifier: Apache-2.0

package device_test

import (
	"fmt"

	"octet/backend"
	"octet/device"
	"octet/dtype"
)

// Two streams, one of which waits for a point of the other.
func Example() {
	dev, err := backend.OpenDevice(backend.Options{})
	if err != nil {
		panic(err)
	}
	defer dev.Close()
	copies, compute := dev.NewStream("copies"), dev.NewStream("compute")
	pool := device.NewPool(dev)
	x, y := pool.New(dtype.Float32, 3), pool.New(dtype.Float32, 3)

	copies.Upload(x, device.Float32Bytes([]float32{1, 2, 3})) // returns at once
	compute.Wait(copies.Record())                             // what follows runs after the upload
	compute.Add(y, x, x)
	got := make([]float32, 3)
	compute.Download(device.Float32Bytes(got), y)
	if err := compute.Sync(); err != nil { // the first error of the stream
		panic(err)
	}
	fmt.Println(got)
	// Output: [2 4 6]
}
