// SPDX-License-Identifier: Apache-2.0

package null_test

import (
	"fmt"

	"octet/device"
	"octet/device/null"
	"octet/dtype"
	"octet/tensor"
)

// A product of matrices that no machine holds, for what it would take.
func Example() {
	dev := null.Open(null.Options{})
	s, pool := dev.NewStream("compute"), device.NewPool(dev)
	const n = 1 << 20
	x, y := pool.New(dtype.BFloat16, n, n), pool.New(dtype.BFloat16, n, n)
	s.MatMul(y, tensor.Operand{Tensor: x}, tensor.Operand{Tensor: x}, device.MatMulOptions{})
	pool.Free(x)
	fmt.Println(pool.Peak()>>40, "TiB at most,", dev.Allocated()>>40, "of the device,", s.Sync())
	// Output: 4 TiB at most, 4 of the device, <nil>
}
