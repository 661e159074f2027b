// SPDX-License-Identifier: Apache-2.0

package sim

// Driver is libcuda, whose devices are this processor; what it reads of the environment is
// in driver/sim.h, and package control asks it what it found.
func Driver() Library {
	return Library{
		Name:     "libcuda.so.1",
		Sources:  []string{"test/sim/driver/*.cc", "test/sim/driver/*.h", "test/sim/emu/registry.h", "device/cuda/api/*.h"},
		Includes: []string{"test/sim/driver", "test/sim/emu", "device/cuda/api"},
	}
}
