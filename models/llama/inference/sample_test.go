// SPDX-License-Identifier: Apache-2.0

package inference

import (
	"math"
	"slices"
	"testing"
)

// draws is how often each token is picked, of 20,000 times.
func draws(t *testing.T, s Sampling, logits []float32) []float64 {
	t.Helper()
	const n = 20000
	share := make([]float64, len(logits))
	for i := range n {
		id, err := s.pick(logits, uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		share[id] += 1.0 / n
	}
	return share
}

// TestTokensAreDrawnByTheirProbabilities, of those that are left.
func TestTokensAreDrawnByTheirProbabilities(t *testing.T) {
	p := []float64{0.1, 0.4, 0.05, 0.3, 0.15}
	logits := make([]float32, len(p))
	for i := range p {
		logits[i] = float32(math.Log(p[i])) + 3
	}
	squared := 0.1*0.1 + 0.4*0.4 + 0.05*0.05 + 0.3*0.3 + 0.15*0.15
	for name, tt := range map[string]struct {
		s    Sampling
		want []float64
	}{
		"greedy":                  {Sampling{}, []float64{0, 1, 0, 0, 0}},
		"temperature 1":           {Sampling{Temperature: 1}, p},
		"temperature 1/2":         {Sampling{Temperature: 0.5}, []float64{0.01 / squared, 0.16 / squared, 0.0025 / squared, 0.09 / squared, 0.0225 / squared}},
		"top 1":                   {Sampling{Temperature: 1, TopK: 1}, []float64{0, 1, 0, 0, 0}},
		"top 3":                   {Sampling{Temperature: 1, TopK: 3}, []float64{0, 0.4 / 0.85, 0, 0.3 / 0.85, 0.15 / 0.85}},
		"top 9":                   {Sampling{Temperature: 1, TopK: 9}, p},
		"just 0.69":               {Sampling{Temperature: 1, TopP: 0.69}, []float64{0, 0.4 / 0.7, 0, 0.3 / 0.7, 0}},
		"0.71":                    {Sampling{Temperature: 1, TopP: 0.71}, []float64{0, 0.4 / 0.85, 0, 0.3 / 0.85, 0.15 / 0.85}},
		"a tiny p":                {Sampling{Temperature: 1, TopP: 1e-9}, []float64{0, 1, 0, 0, 0}},
		"all of p":                {Sampling{Temperature: 1, TopP: 1}, p},
		"0.6 of the first three":  {Sampling{Temperature: 1, TopK: 3, TopP: 0.6}, []float64{0, 0.4 / 0.7, 0, 0.3 / 0.7, 0}},
		"another seed's greedy":   {Sampling{Seed: 8}, []float64{0, 1, 0, 0, 0}},
		"another seed":            {Sampling{Temperature: 1, Seed: 8}, p},
		"a temperature near zero": {Sampling{Temperature: 1e-3}, []float64{0, 1, 0, 0, 0}},
	} {
		got := draws(t, tt.s, logits)
		for id := range p {
			if math.Abs(got[id]-tt.want[id]) > 0.015 || (tt.want[id] == 0) != (got[id] == 0) {
				t.Errorf("%s: token %d in %.3f of draws, want %.3f", name, id, got[id], tt.want[id])
			}
		}
	}
}

// TestOfEqualsTheFirstIsTaken, by greedy choice and by top-k.
func TestOfEqualsTheFirstIsTaken(t *testing.T) {
	logits := []float32{1, 2, 2, 2}
	if got := draws(t, Sampling{}, logits); got[1] < 0.999 {
		t.Errorf("greedy: %v", got)
	}
	if got := draws(t, Sampling{Temperature: 1, TopK: 2}, logits); got[1] == 0 || got[2] == 0 || got[3] != 0 {
		t.Errorf("top 2: %v", got)
	}
}

// TestLogitsThatAreNoNumbersAreAnError: nothing can be chosen by them; an infinite one is a choice.
func TestLogitsThatAreNoNumbersAreAnError(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for _, s := range []Sampling{{}, {Temperature: 1}} {
		if _, err := s.pick([]float32{1, nan}, 0); err == nil {
			t.Error("no error")
		}
		if id, err := s.pick([]float32{inf, 1, inf}, 0); id != 1 || err != nil {
			t.Errorf("token %d, %v", id, err)
		}
	}
}

// TestLogProbIsTheModels: the logarithm of softmax, of which all sum to 1, far from 0 too.
func TestLogProbIsTheModels(t *testing.T) {
	for _, shift := range []float32{0, 1e4, -1e4} {
		logits := []float32{shift, shift + 1, shift - 2}
		sum := 0.0
		for id := range logits {
			sum += math.Exp(logProb(logits, id))
		}
		if math.Abs(sum-1) > 1e-12 || math.Abs(logProb(logits, 1)-logProb(logits, 0)-1) > 1e-12 {
			t.Errorf("shifted by %v: probabilities sum to %v", shift, sum)
		}
	}
}

// TestUniformNumbersAreInTheirRange, and differ.
func TestUniformNumbersAreInTheirRange(t *testing.T) {
	var all []float64
	for i := range uint64(1000) {
		u := uniform(3, i)
		if u < 0 || u >= 1 {
			t.Fatal(u)
		}
		all = append(all, u)
	}
	slices.Sort(all)
	if len(slices.Compact(all)) != 1000 || all[0] > 0.01 || all[999] < 0.99 {
		t.Errorf("from %v to %v", all[0], all[999])
	}
}
