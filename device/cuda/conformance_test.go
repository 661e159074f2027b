// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"fmt"
	"os"
	"testing"

	"octet/device"
	"octet/device/devicetest"
)

// TestConformance: the whole suite on simulated GPUs, where nothing runs before the host
// waits. Nothing that it does may race.
func TestConformance(t *testing.T) { conform(t, "SIM_MODE", "late") }

// TestConformanceInAnyOrder: of streams, blocks and threads.
func TestConformanceInAnyOrder(t *testing.T) {
	if os.Getenv("OCTET_HEAVY") == "" {
		t.Skip("takes minutes: OCTET_HEAVY=1 runs it")
	}
	for _, mode := range []string{"lazy", "random"} {
		for seed := range 16 {
			t.Run(fmt.Sprint(mode, " ", seed), func(t *testing.T) { conform(t, "SIM_MODE", mode, "SIM_SEED", fmt.Sprint(seed)) })
		}
	}
}

func conform(t *testing.T, environ ...string) {
	simulate(t, environ...)
	devicetest.Run(t, devicetest.Options{
		Open: func(t *testing.T) device.Device { return openSimulated(t, Options{}) },
		Hold: holdSimulated(t),
	})
}
