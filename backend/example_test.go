// SPDX-License-Identifier: Apache-2.0

package backend_test

import (
	"context"
	"fmt"

	"octet/backend"
	"octet/comm"
	"octet/device"
	"octet/dtype"
)

// Three ranks of one process add their numbers. A program whose ranks are processes
// calls backend.Open with the place that package launcher finds, and then the same.
func ExampleRun() {
	err := backend.Run(context.Background(), 3, backend.Options{}, func(r *backend.Rank) error {
		s, pool := r.Device.NewStream("main"), device.NewPool(r.Device)
		x := pool.New(dtype.Float32, 1)
		s.Upload(x, device.Float32Bytes([]float32{float32(r.World.Rank())}))
		r.World.AllReduce(s, comm.T(x), comm.Sum)
		sum := make([]float32, 1)
		s.Download(device.Float32Bytes(sum), x)
		if err := s.Sync(); err != nil {
			return err
		}
		if r.World.Rank() == 0 {
			fmt.Println("0 + 1 + 2 =", sum[0])
		}
		return nil
	})
	fmt.Println("error:", err)
	// Output:
	// 0 + 1 + 2 = 3
	// error: <nil>
}
