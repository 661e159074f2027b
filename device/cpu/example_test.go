// SPDX-License-Identifier: Apache-2.0

package cpu_test

import (
	"fmt"

	"octet/device"
	"octet/device/cpu"
	"octet/dtype"
	"octet/tensor"
)

// Two matrices are cast to float8, each by its own amax, and multiplied.
func Example() {
	dev, err := cpu.Open(cpu.Options{Threads: 2})
	if err != nil {
		panic(err)
	}
	defer dev.Close()
	s, pool := dev.NewStream("compute"), device.NewPool(dev)

	float8 := func(values ...float32) tensor.Operand {
		x := pool.New(dtype.Float32, 2, 2)
		s.Upload(x, device.Float32Bytes(values))
		q := tensor.Operand{Tensor: pool.New(dtype.Float8E4M3, 2, 2), Scale: pool.New(dtype.Float32), Inv: pool.New(dtype.Float32)}
		s.DynamicCast(q, tensor.Operand{}, tensor.Operand{Tensor: x}, true)
		return q
	}
	x, w := float8(1, 2, 3, 4), float8(0, 1, 1, 0)
	y := pool.New(dtype.Float32, 2, 2)
	s.MatMul(y, x, w, device.MatMulOptions{TransB: true})

	got := make([]float32, 4)
	s.Download(device.Float32Bytes(got), y)
	if err := s.Sync(); err != nil {
		panic(err)
	}
	fmt.Println(got)
	// Output: [2 1 4 3]
}
