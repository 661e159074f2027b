// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package nccl_test

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"octet/device"
	"octet/device/cuda"
	"octet/device/cuda/api"
	"octet/test/sim"
	"octet/test/sim/control"
)

// TestMain also runs the ranks of process_test.go, which are this binary again, and has the simulated devices run what they may in random order, unless a
// test says otherwise.
func TestMain(m *testing.M) {
	if os.Getenv(envScenario) != "" {
		os.Exit(rankMain())
	}
	os.Setenv("SIM_MODE", "random")
	os.Exit(m.Run())
}

// simulate has this process use the simulated driver, which can be asked what it found,
// and NCCL. Without a compiler the test is skipped.
func simulate(t testing.TB) *control.Driver {
	t.Helper()
	driver, err := simulator()
	if errors.Is(err, sim.ErrNoCompiler) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return driver
}

var simulator = sync.OnceValues(func() (*control.Driver, error) {
	for variable, l := range map[string]sim.Library{"OCTET_CUDA_LIB": sim.Driver(), "OCTET_NCCL_LIB": sim.NCCL(), "SIM_KERNELS": sim.Kernels()} {
		path, err := sim.Build(l)
		if err != nil {
			return nil, err
		}
		os.Setenv(variable, path)
	}
	return control.Open(os.Getenv("OCTET_CUDA_LIB"))
})

// gpu opens a GPU that the test's end closes, a simulated one but in tests of real ones.
func gpu(t testing.TB, ordinal int) device.Device {
	t.Helper()
	if !onHardware() {
		simulate(t)
	} else if oneGPU() {
		ordinal = 0
	}
	dev, err := cuda.Open(cuda.Options{Ordinal: ordinal})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Errorf("closing GPU %d: %v", ordinal, err)
		}
	})
	return dev
}

// hold has a stream wait for a word that another stream writes at the release.
func hold(s device.Stream) (release func()) {
	var write func() api.Result
	s.(device.NativeStream).Native("hold", func(queue uintptr) error {
		cuda, err := api.OpenCUDA(api.System())
		if err != nil {
			return err
		}
		var context, side uintptr
		var word uint64
		cuda.CtxGetCurrent(&context)
		in := cuda.In(context)
		for i, call := range []func() api.Result{
			func() api.Result { return in.MemAlloc(&word, 4) },
			func() api.Result { return in.StreamCreateWithPriority(&side, api.CU_STREAM_NON_BLOCKING, 0) },
			func() api.Result { return in.MemsetD32Async(word, 0, 1, side) },
			func() api.Result { return in.StreamSynchronize(side) },
			func() api.Result { return in.StreamWaitValue32(queue, word, 1, 0) },
		} {
			if r := call(); r != api.CUDA_SUCCESS {
				return fmt.Errorf("call %d to hold a stream: %d", i, r)
			}
		}
		write = func() api.Result { return in.StreamWriteValue32(side, word, 1, 0) }
		return nil
	})
	return func() { write() }
}
