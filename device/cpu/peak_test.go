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
			if peak < 1e8 || peak > 1e13 {
				t.Errorf("%v: %v at %g FLOP/s", isa, typ, peak)
			}
		}
	}
}
