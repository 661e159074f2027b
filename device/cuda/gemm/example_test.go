// SPDX-License-Identifier: Apache-2.0

package gemm_test

import (
	"fmt"

	"octet/device/cuda/gemm"
	"octet/dtype"
)

// How the gradient of a weight is made on a GPU of which cuBLASLt takes float8 only where
// the dimension that is summed is contiguous, as on Hopper.
func Example() {
	hopper := gemm.Modes{F32: true, BF16: true, Tensorwise: [4]bool{true}, Rowwise: true}
	side := func(t dtype.Type) gemm.Side {
		return gemm.Side{Type: t, KContiguous: true, LD: 4096, Scales: gemm.One, Align: gemm.MaxAlign}
	}
	p := gemm.Problem{M: 14336, N: 4096, K: 4096, D: dtype.Float32, DAlign: gemm.MaxAlign, A: side(dtype.Float8E5M2), B: side(dtype.Float8E4M3)}
	fmt.Println(gemm.Routes(p, hopper)[0])

	p.Accumulate = true // of a second microbatch
	fmt.Println(gemm.Routes(p, hopper)[0])
	// Output:
	// cuBLASLt
	// cuBLASLt, then a kernel that adds: this cuBLASLt is not trusted to add in float8
}
