// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"octet/device"
	"octet/device/devicetest"
	"octet/test/sim"
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

// TestProductsConformThroughCublasLt: as it is on several GPUs, the simulated library refuses
// what those refuse.
func TestProductsConformThroughCublasLt(t *testing.T) {
	for _, tt := range []struct{ capability, products string }{
		{"89", "bf16, fp8 tensorwise TN"}, {"90", "bf16, fp8 tensorwise TN, rowwise TN"}, {"100", "bf16, fp8 tensorwise TN NN NT TT"},
	} {
		t.Run(tt.capability, func(t *testing.T) {
			c := simulate(t, "SIM_MODE", "late", "SIM_CC", tt.capability, "OCTET_CUBLASLT_LIB", build(t, sim.CublasLt()))
			d := openSimulated(t, Options{})
			if !strings.HasSuffix(d.Products(), tt.products) {
				t.Errorf("products %q, want %q", d.Products(), tt.products)
			}
			devicetest.RunMatMul(t, devicetest.Options{Open: func(t *testing.T) device.Device { return d }})
			if c.Count("launch scale_product") == 0 && tt.capability != "90" {
				t.Error("nothing was scaled behind its product")
			}
		})
	}
}

func conform(t *testing.T, environ ...string) {
	simulate(t, environ...)
	devicetest.Run(t, devicetest.Options{
		Open: func(t *testing.T) device.Device { return openSimulated(t, Options{}) },
		Hold: holdSimulated(t),
	})
}
