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

func TestBadConfigsAreNamed(t *testing.T) {
	off := fp8.CastConfig{ScalingType: fp8.Disabled, ScalingGranularity: fp8.Tensorwise}
	for _, tt := range []struct {
		name   string
		change func(*fp8.Float8LinearConfig)
		want   []string // empty: no error
	}{
		{"default", func(*fp8.Float8LinearConfig) {}, nil},
		{"all off", func(c *fp8.Float8LinearConfig) {
			c.CastConfigInput, c.CastConfigWeight, c.CastConfigGradOutput = off, off, off
		}, nil},
		{"a type that is not float8", func(c *fp8.Float8LinearConfig) { c.CastConfigInput.TargetDType = dtype.BFloat16 },
			[]string{`float8: cast_config_input: target_dtype "bfloat16" is not an 8-bit float; use "e4m3" or "e5m2"`}},
		{"delayed", func(c *fp8.Float8LinearConfig) { c.CastConfigWeight.ScalingType = "delayed" },
			[]string{`float8: cast_config_weight: scaling_type "delayed"; octet has "dynamic" and "disabled"`}},
		{"axiswise", func(c *fp8.Float8LinearConfig) { c.CastConfigGradOutput.ScalingGranularity = "axiswise" },
			[]string{`float8: cast_config_grad_output: scaling_granularity "axiswise"`}},
		{"one operand off", func(c *fp8.Float8LinearConfig) { c.CastConfigGradOutput = off },
			[]string{
				`float8: matmul grad_input mixes precisions: go is "disabled", w_gi is "dynamic"; set both or neither`,
				`float8: matmul grad_weight mixes precisions: go_gw is "disabled", i_gw is "dynamic"; set both or neither`,
			}},
		{"both e5m2", func(c *fp8.Float8LinearConfig) {
			c.CastConfigInput.TargetDType, c.CastConfigWeight.TargetDType = dtype.Float8E5M2, dtype.Float8E5M2
		}, []string{"float8: matmul output would be e5m2 × e5m2, which the hardware has not; make one side e4m3"}},
		{"gather of a weight that is off", func(c *fp8.Float8LinearConfig) {
			c.CastConfigInput, c.CastConfigWeight, c.CastConfigGradOutput = off, off, off
			c.EnableFsdpFloat8AllGather = true
		}, []string{"EnableFsdpFloat8AllGather is true, but the weight is not cast (w: disabled): there is nothing to gather in float8; set it to false"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := fp8.DefaultConfig()
			tt.change(&cfg)
			l := nn.NewLinear(16, 16, nn.LinearOptions{})
			_, err := fp8.ConvertToFloat8Training(l, cfg, fp8.FilterFQNs())
			if (err != nil) != (tt.want != nil) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %v\nwithout %s", err, want)
				}
			}
			if err != nil && isFloat8(l) {
				t.Error("converted in spite of the error")
			}
		})
	}
	if _, err := fp8.ConfigFromRecipe("colwise"); err == nil || !strings.Contains(err.Error(), `no recipe "colwise"; there is "tensorwise"`) {
		t.Errorf("error %v, want one that lists the recipes", err)
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

func TestRecipesPrintAsTorchaos(t *testing.T) {
	cfg := fp8.DefaultConfig()
	r, err := cfg.Recipe()
	if err != nil || r.String() != "i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2" {
		t.Errorf("%v, %v", r, err)
	}
	// What backward casts otherwise is listed too.
	r.Cast[nn.WeightForGI].Type = fp8.Disabled
	if got, want := r.String(), "i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2,w_gi:dis_ten_e4m3"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if !r.FastAccum[nn.Output] || r.FastAccum[nn.GradInput] || r.FastAccum[nn.GradWeight] {
		t.Errorf("fast accumulation %v, want it for the output only", r.FastAccum)
	}
}
