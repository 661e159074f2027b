// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package cuda

import (
	"testing"

	"octet/device"
	"octet/device/devicetest"
)

// TestEmulatedKernelsConform: what the kernels compute, as this processor runs them.
func TestEmulatedKernelsConform(t *testing.T) {
	r := openKernels(t)
	devicetest.RunKernels(t, devicetest.Options{
		Open: func(t *testing.T) device.Device { return &emulated{TB: t, kernels: r, blocks: 1} },
	})
}

func TestTheTableOfKernelsIsTheRegistrys(t *testing.T) {
	r := openKernels(t)
	threads := map[string]int{}
	for _, k := range r.Kernels() {
		threads[k.Name] = k.Threads
	}
	for _, k := range kernelTable {
		if threads[k.name] != int(k.threads) {
			t.Errorf("%s has blocks of %d threads; its text says %d", k.name, k.threads, threads[k.name])
		}
		delete(threads, k.name)
	}
	delete(threads, "reduce_ranks") // of the simulated libnccl
	for name := range threads {
		t.Errorf("%s is in no row", name)
	}
}
