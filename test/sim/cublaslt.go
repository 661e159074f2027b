// SPDX-License-Identifier: Apache-2.0

package sim

// CublasLt is libcublasLt over whatever driver the process has open (OCTET_CUDA_LIB), of
// which it uses nothing that a real one has not.
func CublasLt() Library {
	return Library{
		Name:     "libcublasLt.so.13",
		Sources:  []string{"test/sim/cublaslt/*.cc", "test/sim/cublaslt/*.h", "device/cuda/api/*.h"},
		Includes: []string{"test/sim/cublaslt", "device/cuda/api"},
	}
}
