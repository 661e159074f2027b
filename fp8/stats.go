// SPDX-License-Identifier: Apache-2.0

package fp8

import (
	"fmt"
	"math"

	"octet/device"
	"octet/tensor"
)

// SQNR is the signal-to-quantisation-noise ratio of y, which stands for x, in dB:
// 20·log10(‖x‖₂/‖x-y‖₂), torchao's compute_error. Of equal values it is +infinity. x and
// y are of one length.
func SQNR(x, y []float32) float64 {
	if len(x) != len(y) {
		panic(fmt.Sprintf("fp8: SQNR of %d values and %d", len(x), len(y)))
	}
	var signal, noise float64
	for i, v := range x {
		d := float64(v) - float64(y[i])
		signal += float64(v) * float64(v)
		noise += d * d
	}
	return sqnr(signal, noise)
}

// sqnr is that of sums of squares.
func sqnr(signal, noise float64) float64 {
	if noise == 0 {
		return math.Inf(1)
	}
	return 10 * math.Log10(signal/noise)
}

// Stats counts the zeros of a float8 operand, and the values at ± its format's largest:
// torchao's fp8_tensor_statistics. It waits for s.
func Stats(s device.Stream, op tensor.Operand) (zeros, largest int, err error) {
	if !op.Type.IsFloat8() {
		panic(fmt.Sprintf("fp8: Stats of %v: want float8", op))
	}
	codes, f := make([]byte, op.Bytes()), op.Type.Format()
	s.Download(codes, op.Tensor)
	if err := s.Sync(); err != nil {
		return 0, 0, err
	}
	for _, code := range codes {
		switch v := f.Decode(code); {
		case v == 0:
			zeros++
		case v == f.Max || v == -f.Max:
			largest++
		}
	}
	return zeros, largest, nil
}
