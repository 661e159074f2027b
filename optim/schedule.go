// SPDX-License-Identifier: Apache-2.0

package optim

import "math"

// Schedule is torchtitan's learning-rate curve: linear warmup, a stable part, then decay (WSD, arXiv:2404.06395).
// Steps are counted from 0.
type Schedule struct {
	Warmup     int      // steps of warmup; cut to Total
	Total      int      // steps of the whole curve, at least 1
	DecayRatio *float64 // the last round(Total × DecayRatio) steps decay; nil: all steps after the warmup
	Type       string   // "linear", "sqrt" or "cosine"
	MinFactor  float64  // what the decay tends to, as a part of the peak
}

// Factor is the part of the peak learning rate that step i uses, in (0, 1] for steps before Total and MinFactor < 1.
// A decay that would reach into the warmup starts where the warmup ends. MinFactor raises the decay only, not the
// warmup. A Type that is none of the three is a programmer error.
func (s Schedule) Factor(i int) float64 {
	warmup := min(s.Warmup, s.Total)
	if i < warmup {
		return float64(i+1) / float64(warmup)
	}
	decay := s.Total - warmup
	if s.DecayRatio != nil {
		// Python's round, as torchtitan uses it, takes halves to the even side.
		decay = min(decay, int(math.RoundToEven(float64(s.Total)**s.DecayRatio)))
	}
	// One more stable step than the sum needs: the last step then stays above the end of the decay.
	start := s.Total + 1 - decay
	if i < start {
		return 1
	}
	progress := min(float64(i+1-start)/float64(decay), 1)
	return s.MinFactor + (1-s.MinFactor)*s.curve(progress)
}

// curve falls from 1 to 0 while progress rises from 0 to 1.
func (s Schedule) curve(progress float64) float64 {
	switch s.Type {
	case "linear":
		return 1 - progress
	case "sqrt":
		return 1 - math.Sqrt(progress)
	case "cosine":
		return (1 + math.Cos(math.Pi*progress)) / 2
	}
	panic("optim: schedule type " + s.Type + " is none of linear, sqrt, cosine")
}
