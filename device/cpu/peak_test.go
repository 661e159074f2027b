// SPDX-License-Identifier: Apache-2.0

package cpu

import "testing"

func TestMeasurePeakIsPlausible(t *testing.T) {
	f32, bf16 := MeasurePeak()
	t.Logf("f32 %.1f GFLOP/s, bf16 dot %.1f GFLOP/s", f32/1e9, bf16/1e9)
	// From a tenth of a scalar core to four 512-bit multipliers at 8 GHz.
	if f32 < 1e8 || f32 > 1e12 || bf16 < 0 || bf16 > 2e12 {
		t.Errorf("f32 %g, bf16 %g FLOP/s", f32, bf16)
	}
}
