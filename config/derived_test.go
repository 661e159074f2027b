// SPDX-License-Identifier: Apache-2.0

package config

import "testing"

// TestOtherDegreesMultiply: each of them counts, also those that only 1 is legal of yet.
func TestOtherDegreesMultiply(t *testing.T) {
	c := Default()
	p := &c.Parallelism
	p.DataParallelReplicateDegree, p.TensorParallelDegree, p.ContextParallelDegree, p.PipelineParallelDegree = 2, 3, 5, 7
	if got := c.otherDegrees(); got != 2*3*5*7 {
		t.Errorf("the other degrees multiply to %d, want %d", got, 2*3*5*7)
	}
}

// TestNumbersInWords: whole ones without an exponent, up to 10 digits.
func TestNumbersInWords(t *testing.T) {
	for x, want := range map[float64]string{1048576: "1048576", -3: "-3", 0.5: "0.5", 9999999999: "9999999999", 1e10: "1e+10", 1.5e10: "1.5e+10", -1e10: "-1e+10"} {
		if got := number(x); got != want {
			t.Errorf("%v is written %q, want %q", x, got, want)
		}
	}
}
