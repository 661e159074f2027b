// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package nccl_test

import (
	"maps"
	"os"
	"slices"
	"testing"

	"octet/comm/commtest"
	"octet/dtype"
	"octet/nccl"
	"octet/test/ranks"
)

// The tests TestHardware… are for real GPUs: gpu-check (test/gpucheck) runs them, over NCCL, and over the simulated libnccl,
// which stands on any driver and lets ranks share a GPU.

func onHardware() bool { return os.Getenv(ranks.DeviceVar) == "cuda" }
func oneGPU() bool     { return os.Getenv(ranks.OneGPUVar) == "1" }

// hardwarePromises: NCCL adds in an order of its own, in bf16 with a rounding each.
func hardwarePromises() commtest.Promises {
	p := promises
	p.Tolerance = maps.Clone(p.Tolerance)
	if p.Tolerance == nil {
		p.Tolerance = map[dtype.Type]float64{}
	}
	p.Tolerance[dtype.Float32], p.Tolerance[dtype.BFloat16] = 1e-6, 1e-2
	return p
}

// TestHardwareConforms: the suite of every communicator, of one rank and, where ranks share a GPU, of two and three.
func TestHardwareConforms(t *testing.T) {
	if !onHardware() {
		t.Skip(ranks.DeviceVar + "=cuda runs it on a GPU")
	}
	worlds := []int{1}
	if oneGPU() {
		worlds = []int{1, 2, 3}
	}
	commtest.Run(t, worlds, commtest.Suite{
		Open:     func(t *testing.T, n int) []commtest.Rank { return open(t, n, nccl.Options{}) },
		Promises: hardwarePromises(),
	})
}

// TestHardwareNamesALostRank: of three processes that share a GPU, so over the simulated libnccl.
func TestHardwareNamesALostRank(t *testing.T) {
	if !onHardware() || !oneGPU() {
		t.Skipf("%s=cuda and %s=1 run it on a GPU", ranks.DeviceVar, ranks.OneGPUVar)
	}
	namesALostRank(t)
}

// TestHardwareSharesAGPU: two ranks on one, which NCCL allows from 2.30 on where it is asked to.
func TestHardwareSharesAGPU(t *testing.T) {
	if !onHardware() || !oneGPU() {
		t.Skipf("%s=cuda and %s=1 run it on a GPU", ranks.DeviceVar, ranks.OneGPUVar)
	}
	t.Setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1")
	t.Setenv("NCCL_MAX_CTAS", "4")
	two, err := connect(t, 2, nccl.Options{})
	if err != nil {
		t.Skipf("this NCCL refuses: %v", err)
	}
	for _, c := range slices.Concat(commtest.Results(), commtest.Splits()) {
		for r, err := range (commtest.Suite{Promises: hardwarePromises()}).Together(two, c.Run) {
			if err != nil {
				t.Fatalf("%s: rank %d: %v", c.Name, r, err)
			}
		}
	}
}
