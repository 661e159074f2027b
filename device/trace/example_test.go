// SPDX-License-Identifier: Apache-2.0

package trace_test

import (
	"fmt"

	"octet/device"
	"octet/device/null"
	"octet/device/trace"
	"octet/dtype"
	"octet/tensor"
)

// What a linear layer asks a device for, from one that computes nothing.
func Example() {
	log := &trace.Log{}
	dev := trace.New(null.Open(null.Options{}), log)
	s, pool := dev.NewStream("compute"), device.NewPool(dev)
	x, w, y := pool.New(dtype.BFloat16, 2048, 256), pool.New(dtype.BFloat16, 768, 256), pool.New(dtype.BFloat16, 2048, 768)
	log.Start()
	s.MatMul(y, tensor.Operand{Tensor: x}, tensor.Operand{Tensor: w}, device.MatMulOptions{TransB: true})
	for _, span := range log.Stop() {
		fmt.Println(span.Stream, span.Name, span.Of, span.FLOPs/1e6, "MFLOP", span.Bytes, "bytes")
	}
	// Output: compute MatMul NT 805.306368 MFLOP 4587520 bytes
}
