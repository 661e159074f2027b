// SPDX-License-Identifier: Apache-2.0

package optim

import (
	"math"
	"testing"
)

func TestScheduleFactors(t *testing.T) {
	ratio := func(r float64) *float64 { return &r }
	for _, tt := range []struct {
		name string
		s    Schedule
		want []float64 // by hand, step by step
	}{
		// 4 steps decay after a warmup of 2, the first of them at the peak: q = 1/4, 2/4, 3/4.
		{"linear", Schedule{Warmup: 2, Total: 6, Type: "linear"}, []float64{0.5, 1, 1, 0.75, 0.5, 0.25}},
		{"sqrt", Schedule{Warmup: 2, Total: 6, Type: "sqrt"}, []float64{0.5, 1, 1, 0.5, 1 - math.Sqrt2/2, 1 - math.Sqrt(3)/2}},
		{"cosine", Schedule{Warmup: 2, Total: 6, Type: "cosine"}, []float64{0.5, 1, 1, 0.5 + math.Sqrt2/4, 0.5, 0.5 - math.Sqrt2/4}},
		// The floor scales the decay and leaves the warmup alone.
		{"floor", Schedule{Warmup: 2, Total: 6, Type: "linear", MinFactor: 0.2}, []float64{0.5, 1, 1, 0.8, 0.6, 0.4}},
		{"floor of cosine", Schedule{Total: 4, Type: "cosine", MinFactor: 0.5}, []float64{1, 0.75 + math.Sqrt2/8, 0.75, 0.75 - math.Sqrt2/8}},
		// round(8 × 0.5) = 4 steps decay, after 1 of warmup and 3 + 1 at the peak.
		{"stable part", Schedule{Warmup: 1, Total: 8, DecayRatio: ratio(0.5), Type: "linear"}, []float64{1, 1, 1, 1, 1, 0.75, 0.5, 0.25}},
		// round(0.5) = 0: no decay at all; round(1.5) = 2: one step below the peak.
		{"half rounds to even 0", Schedule{Total: 5, DecayRatio: ratio(0.1), Type: "linear"}, []float64{1, 1, 1, 1, 1}},
		{"half rounds to even 2", Schedule{Total: 5, DecayRatio: ratio(0.3), Type: "linear"}, []float64{1, 1, 1, 1, 0.5}},
		{"no warmup, constant", Schedule{Total: 3, Type: "linear", MinFactor: 1}, []float64{1, 1, 1}},
		{"warmup cut to total", Schedule{Warmup: 200, Total: 4, Type: "linear"}, []float64{0.25, 0.5, 0.75, 1}},
		{"decay cut by warmup", Schedule{Warmup: 2, Total: 4, DecayRatio: ratio(1), Type: "linear"}, []float64{0.5, 1, 1, 0.5}},
		{"one step", Schedule{Total: 1, Type: "linear"}, []float64{1}},
		{"beyond the total", Schedule{Total: 2, Type: "linear", MinFactor: 0.1}, []float64{1, 0.55, 0.1, 0.1, 0.1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i, want := range tt.want {
				if got := tt.s.Factor(i); math.Abs(got-want) > 1e-15 {
					t.Errorf("step %d: %v, want %v", i, got, want)
				}
			}
		})
	}
}
