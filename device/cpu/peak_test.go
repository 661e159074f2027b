// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"testing"

	"octet/dtype"
)

// TestEveryUnitHasAPeak: whatever MatMul may choose can be measured.
func TestEveryUnitHasAPeak(t *testing.T) {
	for _, isa := range available() {
		d, err := Open(Options{ISA: isa.String()})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		for _, typ := range []dtype.Type{dtype.Float32, dtype.BFloat16, dtype.Float8E4M3} {
			peak := d.Peak(typ)
			t.Logf("%v %v: %v, %.1f GFLOP/s", isa, typ, unitFor(isa, typ, typ, true), peak/1e9)
			if peak < 1e8 || peak > 2e12 {
				t.Errorf("%v: %v at %g FLOP/s", isa, typ, peak)
			}
		}
	}
}

func TestMeasurePeakIsPlausible(t *testing.T) {
	f32, bf16 := MeasurePeak()
	t.Logf("f32 %.1f GFLOP/s, bf16 dot %.1f GFLOP/s", f32/1e9, bf16/1e9)
	// From a tenth of a scalar core to four 512-bit multipliers at 8 GHz.
	if f32 < 1e8 || f32 > 1e12 || bf16 < 0 || bf16 > 2e12 {
		t.Errorf("f32 %g, bf16 %g FLOP/s", f32, bf16)
	}
}
