// SPDX-License-Identifier: Apache-2.0

// Package ranks opens the ranks of a test as goroutines of its process, on the
// device that OCTET_TEST_DEVICE names, by default the CPU. No other test above
// package device opens one, so that all of them run on any device:
//
//	ranks.Run(t, 2, ranks.Options{}, func(r *ranks.Rank) error {
//		s := r.Device.NewStream("test")
//		x := device.NewPool(r.Device).New(dtype.Float32, 4)
//		r.World.AllReduce(s, comm.T(x), comm.Sum)
//		return s.Sync()
//	})
//
// Device opens a device alone, Open ranks that live as long as the test. Of the value "sim"
// GPUs are simulated (Simulated).
package ranks

import (
	"errors"
	"os"
	"testing"
	"time"

	"octet/backend"
)

// DeviceVar names the device that tests run on.
const DeviceVar = "OCTET_TEST_DEVICE"

// OneGPUVar of "1" has all ranks of a test share the first GPU (test/gpucheck).
const OneGPUVar = "OCTET_TEST_ONE_GPU"

// Timeout is how long a rank waits for another, unless a test says otherwise:
// longer than a busy machine keeps a goroutine waiting, shorter than the
// patience of whoever waits for the test.
const Timeout = time.Minute

// Options of a test's ranks.
type Options struct {
	// ISA is the instruction set of a CPU that a test's bounds are made for,
	// such as "portable"; empty is the best. Other devices ignore it. A test
	// that wants one that this machine has not is skipped.
	ISA      string
	Threads  int           // of a CPU; 0 is one
	Float8TN bool          // see backend.Options
	Timeout  time.Duration // 0 is the package's Timeout
}

// Rank is a rank of a test: Rank is its number, World its communicator.
type Rank = backend.Rank

// backend is what the options and the environment ask for.
func (o Options) backend(t testing.TB) backend.Options {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = Timeout
	}
	device := os.Getenv(DeviceVar)
	if device == Sim {
		Simulated(t)
		device = "cuda"
	}
	return backend.Options{Device: device, ISA: o.ISA, Threads: o.Threads, Float8TN: o.Float8TN, OneGPU: os.Getenv(OneGPUVar) == "1", Timeout: o.Timeout}
}

// refuse ends the test because a device could not be opened: a name that is
// wrong fails it, a part that this machine has not skips it.
func refuse(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, backend.ErrNotHere) {
		t.Skipf("%s=%q: %v", DeviceVar, os.Getenv(DeviceVar), err)
	}
	t.Fatalf("%s=%q: %v", DeviceVar, os.Getenv(DeviceVar), err)
}

// Device opens a device that ends with the test.
func Device(t testing.TB, o Options) *backend.Device {
	t.Helper()
	dev, err := backend.OpenDevice(o.backend(t))
	if err != nil {
		refuse(t, err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Errorf("closing the device: %v", err)
		}
	})
	return dev
}

// Open opens n ranks that end with the test.
func Open(t testing.TB, n int, o Options) []*Rank {
	t.Helper()
	list, err := backend.Local(n, o.backend(t))
	if err != nil {
		refuse(t, err)
	}
	t.Cleanup(func() {
		for _, r := range list {
			if err := r.Close(); err != nil && !t.Failed() {
				t.Errorf("closing rank %d: %v", r.Rank, err)
			}
		}
	})
	return list
}

// Run opens n ranks, calls main on each, and fails the test with what each
// rank's main returned.
func Run(t testing.TB, n int, o Options, main func(r *Rank) error) {
	t.Helper()
	for rank, err := range Each(Open(t, n, o), main) {
		if err != nil {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}

// Each calls main on every rank, as backend.Each.
func Each(list []*Rank, main func(r *Rank) error) []error { return backend.Each(list, main) }
