// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"strings"
	"testing"

	"octet/fp8"
)

func TestGeneratorsListTheirShapes(t *testing.T) {
	for _, tt := range []struct {
		s           Selection
		n           int
		first, last Shape
	}{
		{Selection{Generator: Llama}, 4, Shape{"attn.wqkv", 16384, 8192, 1280}, Shape{"ffn.w2", 16384, 3584, 8192}},
		{Selection{Generator: Llama, M: 512, Name: "ffn"}, 2, Shape{"ffn.w13", 512, 8192, 7168}, Shape{"ffn.w2", 512, 3584, 8192}},
		{Selection{Generator: Pow2}, 5, Shape{"1024", 1024, 1024, 1024}, Shape{"16384", 16384, 16384, 16384}},
		{Selection{Generator: Pow2Extended}, 10, Shape{"1024", 1024, 1024, 1024}, Shape{"24576", 24576, 24576, 24576}},
		{Selection{Generator: Sweep}, 512, Shape{"256x256x256", 256, 256, 256}, Shape{"32768x32768x32768", 32768, 32768, 32768}},
		{Selection{Generator: Unaligned, Limit: 2}, 2, Shape{"8193x2501x5008", 8193, 2501, 5008}, Shape{"65x253x4096", 65, 253, 4096}},
		{Selection{Generator: Custom, M: 1, K: 2, N: 3}, 1, Shape{"custom", 1, 2, 3}, Shape{"custom", 1, 2, 3}},
		{Selection{Generator: DebugModel, Name: "70B", Limit: 9}, 2, Shape{"70B.attn.w0", 2048, 1024, 8192}, Shape{"70B.attn.wqkv", 2048, 8192, 1280}},
	} {
		all, err := tt.s.Shapes()
		if err != nil || len(all) != tt.n || all[0] != tt.first || all[len(all)-1] != tt.last {
			t.Errorf("%+v: %d shapes (%v), %v; want %d from %v to %v", tt.s, len(all), err, all, tt.n, tt.first, tt.last)
		}
	}
	for _, tt := range []struct {
		s    Selection
		want string
	}{
		{Selection{Generator: Custom, M: 1, K: 2}, "custom wants all three"},
		{Selection{Generator: Llama, K: 5}, "llama takes M alone"},
		{Selection{Generator: Pow2, M: 5}, "pow2 has shapes of its own"},
		{Selection{Generator: "gpt"}, `shape_gen_name = "gpt": want one of [debugmodel llama`},
		{Selection{Generator: Llama, Name: "wk"}, `no shape of llama has "wk" in its name`},
		{Selection{Generator: Llama, Limit: -1}, "n_limit = -1"},
	} {
		if _, err := tt.s.Shapes(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error %v, want %q", tt.s, err, tt.want)
		}
	}
}

// TestTheRooflineIsTheModel of torchao on round numbers: a machine of 1 TFLOP/s in bf16
// and 2 in float8, of 1 GB/s.
func TestTheRooflineIsTheModel(t *testing.T) {
	m := machine{bf16: 1e12, exact: 1e12, fast: 2e12, memory: 1e9, oneLayout: true}
	for _, tt := range []struct {
		what      string
		got, want float64
	}{
		{"a product that computes", m.gemm(Shape{M: 1 << 12, K: 1 << 20, N: 1 << 12}, 1e12, 2), (1 << 45) / 1e12},
		{"a product that moves", m.gemm(Shape{M: 1000, K: 10, N: 1000}, 1e12, 1), (1000*10*2 + 2*1000*1000) / 1e9},
		{"a small product", m.gemm(Shape{M: 1, K: 1, N: 1}, 1e12, 2), 2e-6},
	} {
		near(t, tt.what, tt.got, tt.want)
	}
	const n = 1 << 20
	gb := float64(n) / 1e9 // seconds for a byte of each element
	for _, tt := range []struct {
		recipe                          fp8.RecipeName
		activation, fused, weight, lean float64 // lean: of an activation, on a device that reads any layout
	}{
		{fp8.RecipeTensorwise, 6*gb + 2e-6, 4*gb + 2e-6, 8*gb + 2e-6, 5*gb + 2e-6},
		{fp8.RecipeRowwise, 8 * gb, 6 * gb, 10 * gb, 6 * gb},
		{fp8.RecipeRowwiseWithGWHP, 3 * gb, 3 * gb, 6 * gb, 3 * gb},
		{fp8.RecipeDelayed, 4 * gb, 2 * gb, 5 * gb, 3 * gb},
	} {
		c, ok := castsOf(tt.recipe)
		if !ok {
			t.Fatalf("no figures for %s", tt.recipe)
		}
		near(t, string(tt.recipe)+", activation", m.overhead(c.activation, n, false), tt.activation)
		near(t, string(tt.recipe)+", activation fused", m.overhead(c.activation, n, true), tt.fused)
		near(t, string(tt.recipe)+", weight", m.overhead(c.weight, n, false), tt.weight)
		any := m
		any.oneLayout = false
		near(t, string(tt.recipe)+", any layout", any.overhead(c.activation, n, false), tt.lean)
	}
	for _, name := range fp8.RecipeNames() {
		if _, ok := castsOf(name); !ok {
			t.Errorf("the model has no figures for recipe %s", name)
		}
	}
	near(t, "a pass over little", m.overhead([]pass{{bytes: 2}}, 10, false), 2e-6)
}

func TestRooflineComparesTheModelWithWhatIsMeasured(t *testing.T) {
	for _, measure := range []bool{true, false} {
		rows := measured(t, func(out Output) error {
			return Roofline(t.Context(), out, RooflineOptions{Shapes: tiny, Recipe: fp8.RecipeTensorwise, Benchmark: measure, Effort: quick})
		})
		if len(rows) != len(tiny) {
			t.Fatalf("%d rows, want %d", len(rows), len(tiny))
		}
		for i, row := range rows {
			near(t, "fwd_M", number(t, row, "fwd_M"), float64(tiny[i].M))
			near(t, "fwd_K", number(t, row, "fwd_K"), float64(tiny[i].K))
			near(t, "fwd_N", number(t, row, "fwd_N"), float64(tiny[i].N))
			both := number(t, row, "r_fp8_gemm_and_ovhd_s")
			near(t, "r_fp8_gemm_and_ovhd_s", both, number(t, row, "r_fp8_gemm_s")+number(t, row, "r_fp8_ovhd_s"))
			near(t, "r_fp8_gemm_and_ovhd_spdp", number(t, row, "r_fp8_gemm_and_ovhd_spdp"), number(t, row, "r_bf16_gemm_s")/both)
			if !measure {
				for _, column := range []string{"b_bf16_gemm_s", "b_fp8_gemm_s", "b_bf16_e2e_s", "b_fp8_e2e_s", "b_fp8_e2e_spdp", "rb_bf16_gemm_ratio", "rb_fp8_gemm_ratio"} {
					if row[column] != "" {
						t.Errorf("%s = %q though nothing was measured", column, row[column])
					}
				}
				continue
			}
			near(t, "b_fp8_e2e_spdp", number(t, row, "b_fp8_e2e_spdp"), number(t, row, "b_bf16_e2e_s")/number(t, row, "b_fp8_e2e_s"))
			near(t, "rb_bf16_gemm_ratio", number(t, row, "rb_bf16_gemm_ratio"), number(t, row, "r_bf16_gemm_s")/number(t, row, "b_bf16_gemm_s"))
			near(t, "rb_fp8_gemm_ratio", number(t, row, "rb_fp8_gemm_ratio"), number(t, row, "r_fp8_gemm_s")/number(t, row, "b_fp8_gemm_s"))
		}
	}
}
