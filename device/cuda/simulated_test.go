// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"testing"

	"octet/device"
	"octet/device/cuda/api"
	"octet/test/sim"
	"octet/test/sim/control"
)

// simulate has Open open simulated GPUs, of the named environment, until the test ends, and
// fails it for whatever was found wrong with what ran on them.
func simulate(t *testing.T, environ ...string) *control.Driver {
	t.Helper()
	driver := sim.Path(t, sim.Driver())
	t.Setenv("OCTET_CUDA_LIB", driver)
	t.Setenv("OCTET_CUBLASLT_LIB", "/none/libcublasLt.so.13") // octet's own kernel makes products
	t.Setenv("SIM_KERNELS", sim.Path(t, sim.Kernels()))
	for i := 0; i < len(environ); i += 2 {
		t.Setenv(environ[i], environ[i+1])
	}
	return control.Watch(t, driver)
}

// openSimulated opens a simulated GPU that the test's end closes.
func openSimulated(t *testing.T, o Options) *Device {
	t.Helper()
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("closing the device: %v", err)
		}
	})
	return d
}

// holdStream has a stream wait for a word that another stream writes at the release.
func holdStream(t testing.TB) func(s device.Stream) (release func()) {
	return func(ds device.Stream) (release func()) {
		s := ds.(*Stream)
		d := s.dev
		word, err := d.Alloc(4)
		if err != nil {
			t.Fatal(err)
		}
		address, other := word.(*Buffer).address, d.newStream("release")
		for i, r := range []api.Result{
			d.cuda.MemsetD32Async(address, 0, 1, other.handle), d.cuda.StreamSynchronize(other.handle),
			d.cuda.StreamWaitValue32(s.handle, address, 1, api.CU_STREAM_WAIT_VALUE_GEQ),
		} {
			if r != api.CUDA_SUCCESS {
				t.Fatalf("call %d: %d", i, r)
			}
		}
		return func() { d.cuda.StreamWriteValue32(other.handle, address, 1, api.CU_STREAM_WRITE_VALUE_DEFAULT) }
	}
}
