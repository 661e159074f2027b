// SPDX-License-Identifier: Apache-2.0

package inference

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"octet/internal/rng"
)

// Sampling is how the next token is chosen, as transformers' generate does: logits are divided by Temperature, then of the TopK most likely
// tokens the fewest stay whose probabilities sum to TopP, and one of them is drawn. The zero value takes the most likely one.
type Sampling struct {
	Temperature float64 // 0: the most likely token, of several the first
	TopK        int     // 0: all
	TopP        float64 // 0 and 1: all
	Seed        uint64  // the same seed draws the same tokens
}

// Check finds values that mean nothing.
func (s Sampling) Check() error {
	switch {
	case !(s.Temperature >= 0) || math.IsInf(s.Temperature, 0):
		return fmt.Errorf("temperature %v: want 0 or more", s.Temperature)
	case s.TopK < 0:
		return fmt.Errorf("top-k %d: want 0 (all) or more", s.TopK)
	case !(s.TopP >= 0 && s.TopP <= 1):
		return fmt.Errorf("top-p %v: want 0 to 1 (all)", s.TopP)
	}
	return nil
}

// pick chooses the token of step i.
func (s Sampling) pick(logits []float32, i uint64) (int, error) {
	best := 0
	for id, l := range logits {
		if l != l {
			return 0, errors.New("the model's logits are not numbers")
		}
		if l > logits[best] {
			best = id
		}
	}
	if s.Temperature == 0 {
		return best, nil
	}
	ids, weights := s.candidates(logits, float64(logits[best]))
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	left := uniform(s.Seed, i) * sum
	for k, w := range weights {
		if left -= w; left < 0 {
			return ids[k], nil
		}
	}
	return ids[len(ids)-1], nil // by rounding
}

// candidates are the tokens that may be drawn, and numbers in proportion to their probabilities, of which the most likely token, whose
// logit is most, has 1.
func (s Sampling) candidates(logits []float32, most float64) (ids []int, weights []float64) {
	weight := func(id int) float64 { return math.Exp((float64(logits[id]) - most) / s.Temperature) }
	ids = make([]int, len(logits))
	for id := range ids {
		ids[id] = id
	}
	cutK, cutP := s.TopK > 0 && s.TopK < len(ids), s.TopP > 0 && s.TopP < 1
	if cutK || cutP {
		slices.SortStableFunc(ids, func(a, b int) int { return cmp.Compare(logits[b], logits[a]) })
	}
	if cutK {
		ids = ids[:s.TopK]
	}
	all := 0.0
	for _, id := range ids {
		weights = append(weights, weight(id))
		all += weights[len(weights)-1]
	}
	if !cutP {
		return ids, weights
	}
	sum := 0.0
	for n, w := range weights {
		if sum += w; sum >= s.TopP*all {
			return ids[:n+1], weights[:n+1]
		}
	}
	return ids, weights
}

// uniform is number i of a seed, in [0, 1), a multiple of 2^-53.
func uniform(seed, i uint64) float64 {
	return float64(rng.New(seed, "sampling").Uint64(i)>>11) * 0x1p-53
}
