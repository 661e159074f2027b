// SPDX-License-Identifier: Apache-2.0

package dtype_test

import (
	"fmt"

	"octet/dtype"
)

func Example() {
	b := dtype.ToBF16(3.14159)
	fmt.Printf("%#x is %v\n", uint16(b), b.Float32())

	q := dtype.E4M3FN.Encode(449) // saturates
	fmt.Printf("%#x is %v\n", q, dtype.E4M3FN.Decode(q))

	fmt.Println(dtype.Float8E4M3, dtype.Float8E4M3.Size(), "byte")
	// Output:
	// 0x4049 is 3.140625
	// 0x7e is 448
	// float8_e4m3fn 1 byte
}

// A scale takes the largest value of a tensor to the largest of the format.
func ExampleFormat_Scale() {
	const amax = 7
	scale := dtype.E4M3FN.Scale(amax, false)
	fmt.Println(scale, dtype.E4M3FN.Decode(dtype.E4M3FN.Encode(amax*scale))/scale)
	fmt.Println(dtype.E4M3FN.Scale(5, true), "as a power of two")
	// Output:
	// 64 7
	// 64 as a power of two
}
