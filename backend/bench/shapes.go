// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"slices"
	"strings"
)

// Shape is (M,K,N) of a linear layer's output X[M,K]·W[N,K]ᵀ.
type Shape struct {
	Name    string
	M, K, N int
}

// String is MxKxN.
func (s Shape) String() string { return fmt.Sprintf("%dx%dx%d", s.M, s.K, s.N) }

// flops are the operations of one of the three products.
func (s Shape) flops() float64 { return 2 * float64(s.M) * float64(s.K) * float64(s.N) }

// Generator is a named list of shapes, torchao's shape_gen_name.
type Generator string

// The generators.
const (
	DebugModel   Generator = "debugmodel"    // octet's debug model, a square, and a rank's share of a 70B with fewer tokens
	Llama        Generator = "llama"         // LLaMa 2 70B on 8 tensor-parallel ranks, 4 sequences of 4096
	Pow2         Generator = "pow2"          // n,n,n for n = 2^10 … 2^14
	Pow2Extended Generator = "pow2_extended" // those, and 1.5 times each
	Sweep        Generator = "sweep"         // all combinations of 2^8 … 2^15
	Unaligned    Generator = "unaligned"     // bench_padding's: sizes that float8 matmuls of GPUs refuse
	Custom       Generator = "custom"        // the one that is given
)

// Generators lists them.
func Generators() []Generator {
	return []Generator{DebugModel, Llama, Pow2, Pow2Extended, Sweep, Unaligned, Custom}
}

// Selection says which shapes are measured.
type Selection struct {
	Generator Generator
	// M, K and N are Custom's; with Llama, M alone replaces its 16384 tokens.
	M, K, N int
	// Name keeps the shapes whose name contains it.
	Name string
	// Limit is the most shapes that are measured; 0 is all.
	Limit int
}

// Shapes are those selected, in the generator's order.
func (s Selection) Shapes() ([]Shape, error) {
	given := s.M != 0 || s.K != 0 || s.N != 0
	switch {
	case min(s.M, s.K, s.N) < 0 || s.Generator == Custom && min(s.M, s.K, s.N) < 1:
		return nil, fmt.Errorf("sizes M, K, N = %d, %d, %d: shape_gen_name custom wants all three, each 1 or more", s.M, s.K, s.N)
	case s.Generator == Llama && (s.K != 0 || s.N != 0):
		return nil, fmt.Errorf("sizes K, N = %d, %d: shape_gen_name llama takes M alone, its number of tokens; use custom", s.K, s.N)
	case given && s.Generator != Custom && s.Generator != Llama:
		return nil, fmt.Errorf("sizes M, K, N = %d, %d, %d: shape_gen_name %s has shapes of its own; use custom", s.M, s.K, s.N, s.Generator)
	case s.Limit < 0:
		return nil, fmt.Errorf("n_limit = %d: want 0, for all shapes, or more", s.Limit)
	}
	all := s.generate()
	if all == nil {
		return nil, fmt.Errorf("shape_gen_name = %q: want one of %v", s.Generator, Generators())
	}
	kept := slices.DeleteFunc(slices.Clone(all), func(shape Shape) bool { return !strings.Contains(shape.Name, s.Name) })
	if len(kept) == 0 {
		return nil, fmt.Errorf("no shape of %s has %q in its name; the first is %q", s.Generator, s.Name, all[0].Name)
	}
	if s.Limit > 0 {
		kept = kept[:min(s.Limit, len(kept))]
	}
	return kept, nil
}

// generate is the whole list; nil if there is no such generator.
func (s Selection) generate() (all []Shape) {
	cubes := func(sizes ...int) {
		for _, n := range sizes {
			all = append(all, Shape{fmt.Sprint(n), n, n, n})
		}
	}
	sized := func(m, k, n int) {
		all = append(all, Shape{Shape{M: m, K: k, N: n}.String(), m, k, n})
	}
	switch s.Generator {
	case DebugModel:
		return []Shape{
			{"debugmodel.attn", 2048, 256, 256}, {"debugmodel.ffn.w13", 2048, 256, 768}, {"debugmodel.ffn.w2", 2048, 768, 256},
			{"1024", 1024, 1024, 1024}, {"70B.attn.w0", 2048, 1024, 8192}, {"70B.attn.wqkv", 2048, 8192, 1280},
		}
	case Llama:
		m := s.M
		if m == 0 {
			m = 4 * 4096
		}
		return []Shape{{"attn.wqkv", m, 8192, 1280}, {"attn.w0", m, 1024, 8192}, {"ffn.w13", m, 8192, 7168}, {"ffn.w2", m, 3584, 8192}}
	case Pow2:
		for p := 10; p <= 14; p++ {
			cubes(1 << p)
		}
	case Pow2Extended:
		for p := 10; p <= 14; p++ {
			cubes(1<<p, 3<<(p-1))
		}
	case Sweep:
		for m := 8; m <= 15; m++ {
			for k := 8; k <= 15; k++ {
				for n := 8; n <= 15; n++ {
					sized(1<<m, 1<<k, 1<<n)
				}
			}
		}
	case Unaligned:
		for _, s := range [][3]int{
			{8193, 2501, 5008}, {65, 253, 4096}, {1023, 1029, 2512}, {4095, 511, 10000}, {2047, 3073, 8192},
			{511, 769, 7504}, {127, 4097, 12288}, {32769, 15, 15024}, {9217, 8191, 20480}, {16385, 1025, 25008},
		} {
			sized(s[0], s[1], s[2])
		}
	case Custom:
		return []Shape{{"custom", s.M, s.K, s.N}}
	}
	return all
}
