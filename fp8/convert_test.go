// SPDX-License-Identifier: Apache-2.0

package fp8_test

import (
	"slices"
	"strings"
	"testing"

	"octet/dtype"
	"octet/fp8"
	"octet/models/llama"
	"octet/nn"
	"octet/nn/nntest"
	"octet/test/ranks"
)

// args are a model whose attention.wk and wv have 8 rows and whose output has
// 50, all else multiples of 16.
var args = llama.Args{Dim: 32, Layers: 2, Heads: 4, KVHeads: 1, Vocab: 50, FFNHiddenDim: 48, NormEps: 1e-5, RopeTheta: 100, MaxSeqLen: 8}

func isFloat8(l *nn.Linear) bool { return l.Caster != nn.HighPrecision{} }

func converted(m nn.Module) (names []string) {
	for _, l := range fp8.Linears(m) {
		if isFloat8(l.Linear) {
			names = append(names, l.FQN)
		}
	}
	return names
}

func TestConversionTakesWhatPassesTheFilter(t *testing.T) {
	m := llama.New(args, 8)
	weight := fp8.Linears(m)[0].Linear.Weight
	cfg := fp8.DefaultConfig()
	cfg.EnableFsdpFloat8AllGather = true
	got, err := fp8.ConvertToFloat8Training(m, cfg, fp8.FilterFQNs("output", "attention.wk", "wv", ""))
	if err != nil {
		t.Fatal(err)
	}
	if got != nn.Module(m) {
		t.Error("the model is another one")
	}
	want := "layers.0.attention.wq layers.0.attention.wo layers.0.feed_forward.w1 layers.0.feed_forward.w3 layers.0.feed_forward.w2"
	want += " " + strings.ReplaceAll(want, "layers.0", "layers.1")
	if names := strings.Join(converted(m), " "); names != want {
		t.Errorf("converted %s, want %s", names, want)
	}
	layers := fp8.Linears(m)
	if layers[0].Linear.Weight != weight || weight.Wire == nil || weight.Wire.Sends([]int{1})[0].Type != dtype.Float8E4M3 {
		t.Error("the weight is another one, or does not travel as float8")
	}
	var first nn.Caster
	for _, l := range layers {
		if travels := l.Linear.Weight.Wire != nil; travels != isFloat8(l.Linear) {
			t.Errorf("%s: float8 %v, but a wire %v", l.FQN, isFloat8(l.Linear), travels)
		}
		if isFloat8(l.Linear) {
			if first == nil {
				first = l.Linear.Caster
			}
			for role := range nn.NumRoles {
				if !l.Linear.Caster.Serves(first, role, role) {
					t.Errorf("%s does not take another's casts as %v", l.FQN, role)
				}
			}
		}
	}
	report := fp8.Report(m)
	for _, line := range []string{
		"layers.1.feed_forward.w2         [32 48]        i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2\n",
		"output                           [50 32]        high precision\n",
	} {
		if !strings.Contains(report, line) {
			t.Errorf("report\n%swithout\n%s", report, line)
		}
	}
}

// TestCastsAreSharedByRecipe: wq, wk and wv read one cast of their input, and it is
// another where scales are shared otherwise, or is made for another matmul.
func TestCastsAreSharedByRecipe(t *testing.T) {
	of := func(name fp8.RecipeName) (first, second nn.Caster) {
		m := &nn.FeedForward{W1: nn.NewLinear(16, 32, nn.LinearOptions{}), W2: nn.NewLinear(32, 16, nn.LinearOptions{}), W3: nn.NewLinear(16, 32, nn.LinearOptions{})}
		cfg, err := fp8.ConfigFromRecipe(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fp8.ConvertToFloat8Training(m, cfg, fp8.FilterFQNs()); err != nil {
			t.Fatal(err)
		}
		l := fp8.Linears(m)
		return l[0].Linear.Caster, l[1].Linear.Caster
	}
	for _, name := range []fp8.RecipeName{fp8.RecipeTensorwise, fp8.RecipeRowwise, fp8.RecipeRowwiseWithGWHP} {
		one, two := of(name)
		other, _ := of(fp8.RecipeRowwise)
		for _, role := range []nn.Role{nn.In, nn.InForGW} {
			if !one.Serves(two, role, role) {
				t.Errorf("%s: a cast as %v is not shared", name, role)
			}
			if got := one.Serves(other, role, role); got != (name == fp8.RecipeRowwise) {
				t.Errorf("%s: a row-wise cast as %v is shared: %v", name, role, got)
			}
		}
		if one.Serves(two, nn.In, nn.InForGW) {
			t.Errorf("%s: a cast for the output serves grad_weight", name)
		}
	}
}

func TestALinearCanBeConvertedItself(t *testing.T) {
	l := nn.NewLinear(16, 32, nn.LinearOptions{})
	m, err := fp8.ConvertToFloat8Training(l, fp8.DefaultConfig(), func(_ nn.Module, fqn string) bool { return fqn == "" })
	if err != nil || m != nn.Module(l) || !isFloat8(l) || l.Weight.Wire != nil {
		t.Errorf("%v, %v, Caster %v, Wire %v", m, err, l.Caster, l.Weight.Wire)
	}
}

func TestSizesThatDoNotFitAreAllNamed(t *testing.T) {
	m := llama.New(args, 8)
	_, err := fp8.ConvertToFloat8Training(m, fp8.DefaultConfig(), fp8.FilterFQNs())
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`layers.0.attention.wk: out_features 8 is not a multiple of 16 (float8 matmul); add "attention.wk" to FilterFQNs or change the model's sizes`,
		`layers.1.attention.wv: out_features 8 is not a multiple of 16`,
		`output: out_features 50 is not a multiple of 16 (float8 matmul); add "output" to`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %v\nwithout %s", err, want)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 5 {
		t.Errorf("%d lines, want one for each of 5 layers:\n%v", n, err)
	}
	if names := converted(m); names != nil {
		t.Errorf("an error left %v converted", names)
	}
	narrow := nn.NewLinear(24, 16, nn.LinearOptions{})
	if _, err := fp8.ConvertToFloat8Training(narrow, fp8.DefaultConfig(), fp8.FilterFQNs()); err == nil || !strings.Contains(err.Error(), "in_features 24 is not a multiple of 16") {
		t.Errorf("error %v, want one that names in_features 24", err)
	}
}

func TestAFilterThatLeavesNothingIsRefused(t *testing.T) {
	none := func(nn.Module, string) bool { return false }
	if _, err := fp8.ConvertToFloat8Training(llama.New(args, 8), fp8.DefaultConfig(), none); err == nil || !strings.Contains(err.Error(), "FilterFQNs") {
		t.Errorf("error %v, want one that names FilterFQNs", err)
	}
}

// TestWhatIsOffStaysAsItIs: a Linear whose casts are all disabled is one in high
// precision.
func TestWhatIsOffStaysAsItIs(t *testing.T) {
	pass := func(change func(*fp8.Float8LinearConfig)) []float32 {
		r := nntest.New(t, ranks.Device(t, ranks.Options{ISA: "portable"}), dtype.Float32)
		l := nn.NewLinear(16, 16, nn.LinearOptions{})
		if change != nil {
			convert(t, l, change)
		}
		r.Load(l, r.Random)
		x := nn.Watch(r.Put(r.Normal(2*16, 1), 2, 16))
		y := r.Pass(l, x, r.Normal(2*16, 1))
		return append(append(y, r.Get(x.Grad().Tensor)...), r.Grad(l.Weight)...)
	}
	off := fp8.CastConfig{ScalingType: fp8.Disabled, ScalingGranularity: fp8.Tensorwise}
	got := pass(func(c *fp8.Float8LinearConfig) {
		c.CastConfigInput, c.CastConfigWeight, c.CastConfigGradOutput = off, off, off
	})
	want := pass(nil)
	if !slices.Equal(got, want) {
		t.Error("with all casts disabled the products have other bits")
	}
	if float8 := pass(func(*fp8.Float8LinearConfig) {}); slices.Equal(float8, want) {
		t.Error("float8 changes nothing")
	}
}

// TestWhatHasNoEffectIsToldOnce below the report.
func TestWhatHasNoEffectIsToldOnce(t *testing.T) {
	const told = "ForceRecomputeFp8WeightInBwd has no effect"
	for _, force := range []bool{false, true} {
		m := llama.New(args, 8)
		cfg := configured(func(c *fp8.Float8LinearConfig) { c.ForceRecomputeFp8WeightInBwd = force })
		if _, err := fp8.ConvertToFloat8Training(m, cfg, fp8.FilterFQNs("output", "wk", "wv")); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(fp8.Report(m), told); (n == 1) != force || n > 1 {
			t.Errorf("ForceRecomputeFp8WeightInBwd %v is told %d times", force, n)
		}
	}
}
