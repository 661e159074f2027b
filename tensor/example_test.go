// SPDX-License-Identifier: Apache-2.0

package tensor_test

import (
	"fmt"

	"octet/backend"
	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

func Example() {
	dev, err := backend.OpenDevice(backend.Options{})
	if err != nil {
		panic(err)
	}
	defer dev.Close()
	pool := device.NewPool(dev)

	x := pool.New(dtype.Float8E4M3, 4, 128)
	fmt.Println(x, "seen as", x.View(2, 2, 128), "and its rows 1 and 2,", x.Rows(1, 3))

	rowwise := tensor.Operand{Tensor: x, Scale: pool.New(dtype.Float32, 4, 1)}
	fmt.Println(rowwise, "with", rowwise.Granularity())
	// Output:
	// float8_e4m3fn[4 128] seen as float8_e4m3fn[2 2 128] and its rows 1 and 2, float8_e4m3fn[2 128]
	// float8_e4m3fn[4 128] with a scale a row
}
