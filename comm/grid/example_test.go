// SPDX-License-Identifier: Apache-2.0

package grid_test

import (
	"context"
	"fmt"

	"octet/backend"
	"octet/comm/grid"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
)

// A matrix whose rows two ranks share becomes one whose columns they share.
func Example() {
	mesh, err := dtensor.NewMesh(2, dtensor.Axis{Name: "tp", Size: 2})
	if err != nil {
		panic(err)
	}
	rows, cols := dtensor.NewLayout(mesh, []int{2, 4}, dtensor.Shard(0)), dtensor.NewLayout(mesh, []int{2, 4}, dtensor.Shard(1))
	err = backend.Run(context.Background(), 2, backend.Options{}, func(r *backend.Rank) error {
		s, pool := r.Device.NewStream("main"), device.NewPool(r.Device)
		g, err := grid.New(mesh, r.World)
		if err != nil {
			return err
		}
		whole := pool.New(dtype.Float32, 2, 4)
		s.Upload(whole, device.Float32Bytes([]float32{1, 2, 3, 4, 5, 6, 7, 8}))
		x, err := g.Distribute(s, pool, whole, rows)
		if err != nil {
			return err
		}
		y, err := g.Redistribute(s, pool, x, cols)
		if err != nil {
			return err
		}
		mine := make([]float32, 4)
		s.Download(device.Float32Bytes(mine), y.Local)
		if err := s.Sync(); err != nil {
			return err
		}
		if r.Rank == 1 {
			fmt.Println(mine)
		}
		return nil
	})
	fmt.Println(err)
	p, err := dtensor.NewPlan(rows, cols, dtype.Float32)
	fmt.Print(p)
	fmt.Println(err)
	// Output:
	// [3 4 7 8]
	// <nil>
	// float32[2 4] from [Shard(0)] over (tp=2) to [Shard(1)] over (tp=2): 8 bytes
	//   all-to-all     tp           Shard(0) to Shard(1), 8 bytes
	// <nil>
}
