// SPDX-License-Identifier: Apache-2.0

package cuda

import "fmt"

// A launch is a kernel, the threads of its blocks, and its arguments.
func Example() {
	k := kernels{}
	l := k.begin(kScales).u64(3).f32(1)
	fmt.Println(l.kernel, l.block, l.args[:l.n])
	// Output: scales 256 [[3 0] [1065353216 0]]
}
