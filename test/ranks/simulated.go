// SPDX-License-Identifier: Apache-2.0

package ranks

import (
	"os"
	"testing"

	"octet/test/sim"
	"octet/test/sim/control"
)

// Sim is the value of OCTET_TEST_DEVICE for simulated GPUs: package cuda as it is, over
// libraries that stand in for NVIDIA's. How they run is in test/sim/driver/sim.h; a test that
// says nothing has them late.
const Sim = "sim"

// Simulated has the GPUs that this process opens as "cuda" be simulated ones. The test fails
// for what they find wrong until its end; the driver that is returned says more of them.
// Without g++ the test is skipped.
func Simulated(t testing.TB) *control.Driver {
	t.Helper()
	for variable, l := range map[string]sim.Library{
		"OCTET_CUDA_LIB": sim.Driver(), "OCTET_CUBLASLT_LIB": sim.CublasLt(), "OCTET_NCCL_LIB": sim.NCCL(), "SIM_KERNELS": sim.Kernels(),
	} {
		if err := os.Setenv(variable, sim.Path(t, l)); err != nil { // for as long as the process: a driver cannot be closed
			t.Fatal(err)
		}
	}
	return control.Watch(t, os.Getenv("OCTET_CUDA_LIB"))
}
