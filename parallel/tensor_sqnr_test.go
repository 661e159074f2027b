// SPDX-License-Identifier: Apache-2.0

package parallel

import (
	"slices"
	"strings"
	"testing"

	"octet/fp8"
	"octet/nn"
)

// ofAll puts the ranks' parts of a feed-forward's values together: outputs and gradients of inputs by rows, weights as they are cut.
func (f ffn) ofAll(parts []map[string][]float32) map[string][]float32 {
	all := map[string][]float32{}
	for _, name := range []string{"y", "x", "ffn.w1.weight", "ffn.w3.weight"} {
		for _, p := range parts {
			all[name] = append(all[name], p[name]...)
		}
	}
	const w2 = "ffn.w2.weight"
	own := f.hidden / len(parts)
	for row := range f.dim {
		for _, p := range parts {
			all[w2] = append(all[w2], p[w2][row*own:(row+1)*own]...)
		}
	}
	return all
}

// noisy is the feed-forward in which float8 over ranks is measured.
var noisy = ffn{tokens: 512, dim: 128, hidden: 384}

// TestTensorwiseOverRanksIsThatOfOne: with one scale for all parts, only the rounding of terms to bf16 is another: outputs are within 46 dB
// of those of one rank and gradients of inputs within 44. Gradients of weights are sums over tokens of the same bytes: they have the same bits.
func TestTensorwiseOverRanksIsThatOfOne(t *testing.T) {
	one, _ := noisy.run(t, 1, fp8.DefaultConfig())
	for _, n := range []int{2, 4, 8} {
		parts, _ := noisy.run(t, n, fp8.DefaultConfig())
		for name, got := range noisy.ofAll(parts) {
			want := one[0][name]
			switch least := map[string]float64{"y": 46, "x": 44}[name]; {
			case least == 0 && !slices.Equal(got, want):
				t.Errorf("%d ranks: the gradient of %s has other bits: SQNR %.1f dB", n, name, fp8.SQNR(want, got))
			case least > 0 && !(fp8.SQNR(want, got) >= least):
				t.Errorf("%d ranks: SQNR of %s is %.1f dB, less than %v", n, name, fp8.SQNR(want, got), least)
			}
		}
	}
}

// mute is a Caster that casts what was gathered, as one that cannot ship does.
type mute struct{ nn.Caster }

// TestWhatTravelsByRowsLosesNothing: row-wise casts before a gather give the outputs of casts after it, to the bit, and gradients of weights as near those of
// high precision, within 0.5 dB.
func TestWhatTravelsByRowsLosesNothing(t *testing.T) {
	cfg, err := fp8.ConfigFromRecipe(fp8.RecipeRowwise)
	if err != nil {
		t.Fatal(err)
	}
	exact := noisy
	exact.high = true
	high, _ := exact.run(t, 1, cfg)
	for _, n := range []int{2, 4} {
		after := noisy
		after.casters = func(c nn.Caster) nn.Caster { return mute{c} }
		parts, _ := noisy.run(t, n, cfg)
		others, calls := after.run(t, n, cfg)
		if !strings.HasPrefix(calls[0][0], "all-gather bfloat16") {
			t.Errorf("%d ranks: %q, want casts after the gather", n, calls[0])
		}
		before, whole := noisy.ofAll(parts), after.ofAll(others)
		if !slices.Equal(before["y"], whole["y"]) {
			t.Errorf("%d ranks: outputs differ: SQNR %.1f dB", n, fp8.SQNR(whole["y"], before["y"]))
		}
		for name, want := range high[0] {
			got, other := fp8.SQNR(want, before[name]), fp8.SQNR(want, whole[name])
			if !(got >= other-0.5) || !(got > 15) {
				t.Errorf("%d ranks: %s has %.2f dB where casts come before the gather, %.2f where after it", n, name, got, other)
			}
		}
	}
}
