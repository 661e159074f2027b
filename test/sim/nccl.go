// SPDX-License-Identifier: Apache-2.0

package sim

// NCCL is libnccl over any driver, simulated or not; nccl/api.cc says what it does, and
// nccl/fault.h what can go wrong on demand.
func NCCL() Library {
	return Library{
		Name:     "libnccl.so.2",
		Sources:  []string{"test/sim/nccl/*.cc", "test/sim/nccl/*.h", "test/sim/nccl/kernels/*.ptx", "device/cuda/api/*.h"},
		Includes: []string{"device/cuda/api"},
	}
}
