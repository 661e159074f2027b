// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"fmt"
	"os"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// The output product X[M,K]·W[N,K]ᵀ on one thread: small, the debug model's,
// and a square. `octet bench matmul` has all three products of more shapes.
func BenchmarkMatMul(b *testing.B) {
	isa, err := chooseISA(os.Getenv("OCTET_CPU_ISA"))
	if err != nil {
		b.Fatal(err)
	}
	peak := open(b, isa, 1).Peak(dtype.Float32)
	for _, shape := range [][3]int{{64, 64, 64}, {2048, 256, 256}, {2048, 256, 768}, {1024, 1024, 1024}} {
		m, k, n := shape[0], shape[1], shape[2]
		for _, typ := range []dtype.Type{dtype.Float32, dtype.BFloat16, dtype.Float8E4M3} {
			b.Run(fmt.Sprintf("%dx%dx%d/%v", m, k, n, typ), func(b *testing.B) {
				dev := open(b, isa, 1)
				x, w := newMatrix(b, dev, typ, m, k, normal(1)), newMatrix(b, dev, typ, n, k, normal(2))
				y := newMatrix(b, dev, dtype.Float32, m, n, normal(3))
				s := dev.NewStream("matmul")
				b.ReportAllocs()
				for b.Loop() {
					s.MatMul(y.Tensor, tensor.Operand{Tensor: x.Tensor}, tensor.Operand{Tensor: w.Tensor}, device.MatMulOptions{TransB: true})
					if err := s.Sync(); err != nil {
						b.Fatal(err)
					}
				}
				rate := 2 * float64(m) * float64(k) * float64(n) * float64(b.N) / b.Elapsed().Seconds()
				b.ReportMetric(rate/1e9, "GFLOP/s")
				b.ReportMetric(100*rate/peak, "%peak")
			})
		}
	}
}
