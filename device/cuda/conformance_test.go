// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"octet/device"
	"octet/device/cuda/gemm"
	"octet/device/devicetest"
	"octet/dtype"
	"octet/tensor"
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
			c := simulate(t, "SIM_MODE", "late", "SIM_CC", tt.capability, "OCTET_CUBLASLT_LIB", sim.Path(t, sim.CublasLt()))
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

// TestWhatCublasLtCanDoIsAskedOfIt: products of any transposition, which octet's own kernel would
// make too, and slowly.
func TestWhatCublasLtCanDoIsAskedOfIt(t *testing.T) {
	simulate(t, "OCTET_CUBLASLT_LIB", sim.Path(t, sim.CublasLt()))
	d := openSimulated(t, Options{})
	pool := device.NewPool(d)
	const m, n, k = 32, 48, 80
	for _, ty := range []dtype.Type{dtype.BFloat16, dtype.Float32} {
		dst := pool.New(ty, m, n)
		for i := range 4 {
			o := device.MatMulOptions{TransA: i%2 == 1, TransB: i/2 == 1}
			a, b := tensor.Operand{Tensor: pool.New(ty, m, k)}, tensor.Operand{Tensor: pool.New(ty, k, n)}
			if o.TransA {
				a.Tensor = pool.New(ty, k, m)
			}
			if o.TransB {
				b.Tensor = pool.New(ty, n, k)
			}
			x, y := must.MatMul(dst, a, b, o)
			if how := d.products.Choose(problemOf(dst, a, b, x, y, o)); how.Kind != gemm.Direct || how.Aside {
				t.Errorf("%+v of %v: %v", o, ty, how.Route)
			}
		}
	}
}

func conform(t *testing.T, environ ...string) {
	simulate(t, environ...)
	devicetest.Run(t, devicetest.Options{
		Open: func(t *testing.T) device.Device { return openSimulated(t, Options{}) },
		Hold: holdStream(t), RoundsP: hasTiles,
	})
}
