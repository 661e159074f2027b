// SPDX-License-Identifier: Apache-2.0

package llama

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Args are the sizes of a model. The feed-forward's width is FFNHiddenDim if
// that is set, else 8/3·Dim times FFNDimMultiplier, rounded up to MultipleOf.
type Args struct {
	Dim, Layers, Heads, KVHeads int
	HeadSize                    int // of one head; 0: Dim / Heads
	Vocab                       int
	FFNHiddenDim                int
	MultipleOf                  int
	FFNDimMultiplier            float64 // 0: none
	NormEps                     float64
	RopeTheta                   float64
	ScaledRope                  bool // stretch low rotary frequencies as Llama 3.1 does, by the next four (nn.RoPEScaling)
	RopeFactor                  float64
	RopeLowFreq, RopeHighFreq   float64
	RopeOriginalMaxSeqLen       int
	MaxSeqLen                   int
	Tied                        bool // output shares the embedding's weight
}

// Flavors are torchtitan's presets of llama3.
func Flavors() map[string]Args {
	base := Args{NormEps: 1e-5, RopeTheta: 500000, MaxSeqLen: 131072, Vocab: 128256, MultipleOf: 256,
		ScaledRope: true, RopeFactor: 8, RopeLowFreq: 1, RopeHighFreq: 4, RopeOriginalMaxSeqLen: 8192}
	with := func(dim, layers, heads, kv int, f func(*Args)) Args {
		a := base
		a.Dim, a.Layers, a.Heads, a.KVHeads = dim, layers, heads, kv
		f(&a)
		return a
	}
	ffn := func(mult float64, multiple int) func(*Args) {
		return func(a *Args) { a.FFNDimMultiplier, a.MultipleOf = mult, multiple }
	}
	small := func(mult float64) func(*Args) { // Llama 3.2
		return func(a *Args) { a.FFNDimMultiplier, a.RopeFactor, a.Tied = mult, 32, true }
	}
	return map[string]Args{
		"debugmodel": with(256, 6, 16, 16, func(a *Args) { a.Vocab = 2048 }),
		"1B":         with(2048, 16, 32, 8, small(1.5)),
		"3B":         with(3072, 28, 24, 8, small(1)),
		"8B":         with(4096, 32, 32, 8, ffn(1.3, 1024)),
		"70B":        with(8192, 80, 64, 8, ffn(1.3, 4096)),
		"405B":       with(16384, 126, 128, 8, ffn(1.2, 4096)),
	}
}

// Flavor looks a preset up.
func Flavor(name string) (Args, error) {
	all := Flavors()
	a, ok := all[name]
	if !ok {
		var names []string
		for n := range all {
			names = append(names, n)
		}
		slices.Sort(names)
		return Args{}, fmt.Errorf("llama.Flavor = %q: no such flavor; octet has %s", name, strings.Join(names, ", "))
	}
	return a, nil
}

// HeadDim is the size of one head.
func (a Args) HeadDim() int {
	if a.HeadSize > 0 {
		return a.HeadSize
	}
	return a.Dim / a.Heads
}

// QDim and KVDim are the widths of all query heads, and of all key heads, together.
func (a Args) QDim() int  { return a.Heads * a.HeadDim() }
func (a Args) KVDim() int { return a.KVHeads * a.HeadDim() }

// Hidden is the width of the feed-forward.
func (a Args) Hidden() int {
	if a.FFNHiddenDim > 0 {
		return a.FFNHiddenDim
	}
	h := 8 * a.Dim / 3
	if a.FFNDimMultiplier > 0 {
		h = int(a.FFNDimMultiplier * float64(h))
	}
	m := max(1, a.MultipleOf)
	return (h + m - 1) / m * m
}

// Params is the number of parameters, embedding included.
func (a Args) Params() int {
	block := 2*a.Dim*a.QDim() + 2*a.Dim*a.KVDim() + 3*a.Dim*a.Hidden() + 2*a.Dim
	n := a.Layers*block + a.Dim + a.Embedding()
	if !a.Tied {
		n += a.Embedding()
	}
	return n
}

// Embedding is the number of parameters of the embedding table.
func (a Args) Embedding() int { return a.Vocab * a.Dim }

// Shared are the second names of weights that the model has twice: of tied ones
// the output's is the embedding's.
func (a Args) Shared() map[string]string {
	if !a.Tied {
		return nil
	}
	return map[string]string{"tok_embeddings.weight": "output.weight"}
}

// Differences are what the two models do not compute alike, by torchtitan's names.
func (a Args) Differences(b Args) (all []string) {
	differ := func(name string, x, y any) {
		if x != y {
			all = append(all, fmt.Sprintf("%s is %v and %v", name, x, y))
		}
	}
	differ("dim", a.Dim, b.Dim)
	differ("n_layers", a.Layers, b.Layers)
	differ("n_heads", a.Heads, b.Heads)
	differ("n_kv_heads", a.KVHeads, b.KVHeads)
	differ("head_dim", a.HeadDim(), b.HeadDim())
	differ("vocab_size", a.Vocab, b.Vocab)
	differ("ffn_hidden_dim", a.Hidden(), b.Hidden())
	differ("norm_eps", a.NormEps, b.NormEps)
	differ("rope_theta", a.RopeTheta, b.RopeTheta)
	differ("use_scaled_rope", a.ScaledRope, b.ScaledRope)
	if a.ScaledRope && b.ScaledRope {
		differ("rope_factor", a.RopeFactor, b.RopeFactor)
		differ("rope_low_freq_factor", a.RopeLowFreq, b.RopeLowFreq)
		differ("rope_high_freq_factor", a.RopeHighFreq, b.RopeHighFreq)
		differ("rope_original_max_seq_len", a.RopeOriginalMaxSeqLen, b.RopeOriginalMaxSeqLen)
	}
	differ("enable_weight_tying", a.Tied, b.Tied)
	return all
}

// Validate reports every size that does not fit, by field.
func (a Args) Validate(seqLen int) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case a.HeadSize == 0 && a.Dim%a.Heads != 0:
		bad("Args.Heads = %d does not divide Args.Dim = %d", a.Heads, a.Dim)
	case a.HeadDim()%2 != 0 && a.HeadSize > 0:
		bad("Args.HeadSize = %d is odd; rotary positions need pairs", a.HeadSize)
	case a.HeadDim()%2 != 0:
		bad("Args.Dim / Heads = %d is odd; rotary positions need pairs", a.HeadDim())
	}
	if a.ScaledRope && a.RopeLowFreq >= a.RopeHighFreq {
		bad("Args.RopeLowFreq = %v is not below Args.RopeHighFreq = %v", a.RopeLowFreq, a.RopeHighFreq)
	}
	if a.Heads%a.KVHeads != 0 {
		bad("Args.KVHeads = %d does not divide Args.Heads = %d", a.KVHeads, a.Heads)
	}
	if seqLen > a.MaxSeqLen {
		bad("seqLen = %d is more than Args.MaxSeqLen = %d", seqLen, a.MaxSeqLen)
	}
	return errors.Join(errs...)
}
