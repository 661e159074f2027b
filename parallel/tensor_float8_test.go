// SPDX-License-Identifier: Apache-2.0

package parallel

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"octet/comm/grid"
	"octet/comm/record"
	"octet/dtensor"
	"octet/dtype"
	"octet/fp8"
	"octet/nn"
	"octet/nn/nntest"
	"octet/test/ranks"
	"octet/tp"
)

// ffn is a feed-forward between rows of tokens.
type ffn struct {
	tokens, dim, hidden int
	tn, high            bool                      // float8 TN; without float8
	casters             func(nn.Caster) nn.Caster // nil: as they are
}

var small = ffn{tokens: 32, dim: 32, hidden: 96}

// run runs it in a recipe on n ranks and returns outputs, gradients and what was sent, by rank.
func (f ffn) run(t *testing.T, n int, cfg fp8.Float8LinearConfig, skip ...string) (values []map[string][]float32, calls [][]string) {
	t.Helper()
	tokens, dim, hidden := f.tokens, f.dim, f.hidden
	values, calls = make([]map[string][]float32, n), make([][]string, n)
	ranks.Run(t, n, ranks.Options{ISA: "portable", Float8TN: f.tn}, func(r *ranks.Rank) error {
		linear := func(k, n int) nn.Module { return nn.NewLinear(k, n, nn.LinearOptions{Init: nn.Normal(0.2)}) }
		var m nn.Module = &nn.Sequential{Names: []string{"ffn"}, Modules: []nn.Module{
			&nn.FeedForward{W1: linear(dim, hidden), W2: linear(hidden, dim), W3: linear(dim, hidden)}}}
		var err error
		if !f.high {
			if m, err = fp8.ConvertToFloat8Training(m, cfg, fp8.FilterFQNs(skip...)); err != nil {
				return err
			}
		}
		nn.AssignNames(m)
		log := &record.Log{Keep: true}
		mesh, err := dtensor.NewMesh(n, dtensor.Axis{Name: tp.Axis, Size: n})
		if err != nil {
			return err
		}
		g, err := grid.New(mesh, record.New(r.World, log))
		if err != nil {
			return err
		}
		rows := dtensor.Shard(0)
		plan := tp.Plan{tp.For("ffn", tp.PrepareModuleInput(rows, dtensor.Replicate())),
			tp.For("ffn.w[13]", tp.ColwiseParallel()), tp.For("ffn.w2", tp.RowwiseParallel(tp.OutputLayouts(rows)))}
		if n > 1 {
			if _, err := plan.Apply(&m, g, nil); err != nil {
				return err
			}
		}
		if f.casters != nil {
			if err := nn.Walk(&m, func(_ string, m nn.Module) (nn.Module, error) {
				if l, ok := nn.Base(m).(*nn.Linear); ok {
					l.Caster = f.casters(l.Caster)
				}
				return m, nil
			}); err != nil {
				return err
			}
		}
		rig := nntest.New(t, r.Device, dtype.BFloat16)
		cut := func(p *nn.Param) []float32 {
			whole := make([]float32, dim*hidden)
			p.Init.Fill(whole, 1, p.Name, 0)
			if p.Box().Lo == nil {
				return whole
			}
			own := make([]float32, p.Numel())
			p.Box().Overlap(dtensor.Whole(p.Like("", nil).Layout.Shape()), func(to, from, n int) { copy(own[to:to+n], whole[from:from+n]) })
			return own
		}
		rig.Load(m, cut)
		fp8.ScalesOf(m).Allocate(rig.Ctx, r.World)
		x := rig.Normal(tokens*dim, 1)
		dy := rig.Normal(tokens*dim, 1)
		own := func(x []float32) []float32 { return x[r.Rank*len(x)/n : (r.Rank+1)*len(x)/n] }
		in := nn.Watch(rig.As(dtype.BFloat16, own(x), tokens/n, dim))
		got := map[string][]float32{"y": rig.Pass(m, in, own(dy))}
		got["x"] = rig.Get(in.Grad().Tensor)
		in.FreeGrad(rig.Ctx)
		for name, p := range nn.Parameters(m) {
			got[name] = rig.Grad(p)
		}
		if live := rig.Ctx.Pool.Live(); live != 0 {
			return fmt.Errorf("%d bytes are left (TN %v)", live, f.tn)
		}
		for _, c := range log.Take() {
			_, text, _ := strings.Cut(c.String(), " #")
			_, text, _ = strings.Cut(text, " ")
			calls[r.Rank] = append(calls[r.Rank], text)
		}
		values[r.Rank] = got
		return nil
	})
	if t.Failed() {
		t.FailNow()
	}
	return values, calls
}

// TestActivationsTravelInFloat8: what is gathered has a byte an element, forward and backward, with a
// scale that ranks agree on by a word; sums travel in bf16.
func TestActivationsTravelInFloat8(t *testing.T) {
	word := "all-reduce max int32[1], 4 bytes"
	want := []string{
		word, // x
		"all-gather float8_e4m3fn[512], 512 bytes", // of it
		word, word, // w1, w3
		word, word, // h, w2
		"reduce-scatter sum bfloat16[1024], 2048 bytes",
		word,                                     // dy
		"all-gather float8_e5m2[512], 512 bytes", // of it
		word,                                     // w2
		"all-reduce max int32[2], 8 bytes",       // gradients of w3 and w1
		word, word,                               // w3, w1
		"reduce-scatter sum bfloat16[1024], 2048 bytes",
	}
	for _, tn := range []bool{false, true} {
		f := small
		f.tn = tn
		_, calls := f.run(t, 2, fp8.DefaultConfig())
		for rank := range calls {
			if !slices.Equal(calls[rank], want) {
				t.Errorf("rank %d sends\n%s\nwant\n%s", rank, strings.Join(calls[rank], "\n"), strings.Join(want, "\n"))
			}
		}
	}
}

// TestRecipesOverTheTensorAxis: every recipe computes on two ranks what it does on one, as far as sums of
// bf16 terms do, and by rows what travels does so in bf16.
func TestRecipesOverTheTensorAxis(t *testing.T) {
	recipe := func(name fp8.RecipeName) fp8.Float8LinearConfig {
		cfg, err := fp8.ConfigFromRecipe(name)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	for _, tt := range []struct {
		name    string
		cfg     fp8.Float8LinearConfig
		skip    []string
		gathers dtype.Type
		near    float64
	}{
		{"tensorwise", fp8.DefaultConfig(), nil, dtype.Float8E4M3, 0.01},
		{"delayed", recipe(fp8.RecipeDelayed), nil, dtype.Float8E4M3, 0.01},
		{"rowwise", recipe(fp8.RecipeRowwise), nil, dtype.Float8E4M3, 0.03},
		{"rowwise, exact scales", func() fp8.Float8LinearConfig {
			cfg := recipe(fp8.RecipeRowwise)
			cfg.RoundScalesToPowerOf2 = false
			return cfg
		}(), nil, dtype.Float8E4M3, 0.06}, // scales are those of the part
		{"rowwise with gw hp", recipe(fp8.RecipeRowwiseWithGWHP), nil, dtype.BFloat16, 0.03},
		{"of two minds", fp8.DefaultConfig(), []string{"w3"}, dtype.BFloat16, 0.01},
	} {
		for _, tn := range []bool{false, true} {
			f := small
			f.tn = tn
			whole, _ := f.run(t, 1, tt.cfg, tt.skip...)
			parts, calls := f.run(t, 2, tt.cfg, tt.skip...)
			if first := calls[0][slices.IndexFunc(calls[0], func(c string) bool { return strings.HasPrefix(c, "all-gather") })]; !strings.Contains(first, tt.gathers.String()) {
				t.Errorf("%s: %s, want %v", tt.name, first, tt.gathers)
			}
			for name, got := range f.ofAll(parts) {
				if d := nntest.Off(got, whole[0][name]); !(d <= tt.near) || math.IsNaN(d) {
					t.Errorf("%s, float8 TN %v: %s is off by %.2g", tt.name, tn, name, d)
				}
			}
		}
	}
}
