// SPDX-License-Identifier: Apache-2.0

package fp8_test

import (
	"strings"
	"testing"

	"octet/dtype"
	"octet/fp8"
	"octet/nn"
)

// casts are kinds of CastConfig.
func cast(t fp8.ScalingType, g fp8.ScalingGranularity) fp8.CastConfig {
	return fp8.CastConfig{ScalingType: t, ScalingGranularity: g}
}

// configured is the default after a change.
func configured(change func(*fp8.Float8LinearConfig)) fp8.Float8LinearConfig {
	c := fp8.DefaultConfig()
	change(&c)
	return c
}

// all sets the casts of input, weight and grad_output.
func all(c *fp8.Float8LinearConfig, to fp8.CastConfig) {
	c.CastConfigInput, c.CastConfigWeight, c.CastConfigGradOutput = to, to, to
}

// TestBadConfigsAreNamed: everything that is wrong with a configuration is said, field,
// value and what would be right.
func TestBadConfigsAreNamed(t *testing.T) {
	var (
		off     = cast(fp8.Disabled, fp8.Tensorwise)
		delayed = cast(fp8.Delayed, fp8.Tensorwise)
		rows    = cast(fp8.Dynamic, fp8.Axiswise)
	)
	rowwise, _ := fp8.ConfigFromRecipe(fp8.RecipeRowwiseWithGWHP)
	for _, tt := range []struct {
		name   string
		change func(*fp8.Float8LinearConfig)
		want   []string // the lines of the error; none: no error
	}{
		{"default", func(*fp8.Float8LinearConfig) {}, nil},
		{"all off", func(c *fp8.Float8LinearConfig) { all(c, off) }, nil},
		{"grad_weight off", func(c *fp8.Float8LinearConfig) {
			c.CastConfigInputForGradWeight, c.CastConfigGradOutputForGradWeight = off, off
		}, nil},
		{"the zero value", func(c *fp8.Float8LinearConfig) { *c = fp8.Float8LinearConfig{} }, []string{
			`float8: cast_config_input: scaling_type "": must be "dynamic", "delayed" or "disabled"`,
			`float8: cast_config_weight: scaling_type "": must be "dynamic", "delayed" or "disabled"`,
			`float8: cast_config_grad_output: scaling_type "": must be "dynamic", "delayed" or "disabled"`,
		}},
		{"static", func(c *fp8.Float8LinearConfig) { c.CastConfigWeight.ScalingType = "static" },
			[]string{`float8: cast_config_weight: scaling_type "static": must be "dynamic", "delayed" or "disabled"`}},
		{"no granularity", func(c *fp8.Float8LinearConfig) { c.CastConfigWeightForGradInput.ScalingType = fp8.Dynamic },
			[]string{`float8: cast_config_weight_for_grad_input: scaling_granularity "": must be "tensorwise" or "axiswise"`}},
		{"blockwise", func(c *fp8.Float8LinearConfig) { c.CastConfigGradOutput.ScalingGranularity = "blockwise" },
			[]string{`float8: cast_config_grad_output: scaling_granularity "blockwise": must be "tensorwise" or "axiswise"`}},
		{"delayed by rows", func(c *fp8.Float8LinearConfig) { c.CastConfigWeight = cast(fp8.Delayed, fp8.Axiswise) },
			[]string{`float8: cast_config_weight: scaling_granularity "axiswise" needs scaling_type "dynamic", found "delayed"; use granularity "tensorwise" for delayed scaling`}},
		{"off by rows", func(c *fp8.Float8LinearConfig) {
			c.CastConfigInputForGradWeight, c.CastConfigGradOutputForGradWeight = cast(fp8.Disabled, fp8.Axiswise), off
		}, []string{`float8: cast_config_input_for_grad_weight: scaling_granularity "axiswise" needs scaling_type "dynamic", found "disabled"; use granularity "tensorwise" for disabled scaling`}},
		{"a type that is not float8", func(c *fp8.Float8LinearConfig) { c.CastConfigInput.TargetDType = dtype.BFloat16 },
			[]string{`float8: cast_config_input: target_dtype "bfloat16" is not an 8-bit float; use "e4m3" or "e5m2"`}},
		{"one operand off", func(c *fp8.Float8LinearConfig) { c.CastConfigGradOutput = off }, []string{
			`float8: matmul grad_input mixes precisions: go is "disabled", w_gi is "dynamic"; set both or neither`,
			`float8: matmul grad_weight mixes precisions: go_gw is "disabled", i_gw is "dynamic"; set both or neither`,
		}},
		{"one operand of grad_weight off", func(c *fp8.Float8LinearConfig) { c.CastConfigInputForGradWeight = off },
			[]string{`float8: matmul grad_weight mixes precisions: go_gw is "dynamic", i_gw is "disabled"; set both or neither`}},
		{"grad_output in two formats", func(c *fp8.Float8LinearConfig) {
			c.CastConfigGradOutputForGradWeight = fp8.CastConfig{ScalingType: fp8.Dynamic, ScalingGranularity: fp8.Tensorwise, TargetDType: dtype.Float8E4M3}
		}, []string{"float8: grad_output is e5m2 for grad_input and e4m3 for grad_weight; an operand keeps one format in both matmuls"}},
		{"weight in two formats", func(c *fp8.Float8LinearConfig) {
			c.CastConfigGradOutput.TargetDType = dtype.Float8E4M3
			c.CastConfigWeightForGradInput = fp8.CastConfig{ScalingType: fp8.Dynamic, ScalingGranularity: fp8.Tensorwise, TargetDType: dtype.Float8E5M2}
		}, []string{"float8: weight is e4m3 for output and e5m2 for grad_input; an operand keeps one format in both matmuls"}},
		{"input of two kinds", func(c *fp8.Float8LinearConfig) { c.CastConfigInputForGradWeight = delayed }, []string{
			`float8: input is "dynamic" for output and "delayed" for grad_weight; an operand that is cast for both matmuls has one scaling_type`,
		}},
		{"both e5m2", func(c *fp8.Float8LinearConfig) {
			c.CastConfigInput.TargetDType, c.CastConfigWeight.TargetDType = dtype.Float8E5M2, dtype.Float8E5M2
		}, []string{
			"float8: matmul output would be e5m2 × e5m2, which the hardware has not; make one side e4m3",
			"float8: matmul grad_input would be e5m2 × e5m2, which the hardware has not; make one side e4m3",
			"float8: matmul grad_weight would be e5m2 × e5m2, which the hardware has not; make one side e4m3",
		}},
		{"gather of a weight that is off", func(c *fp8.Float8LinearConfig) {
			all(c, off)
			c.EnableFsdpFloat8AllGather = true
		}, []string{"float8: EnableFsdpFloat8AllGather = true, but the weight is not cast (w: disabled): there is nothing to gather in float8; set it to false"}},
		{"gather of a weight that grad_input casts otherwise", func(c *fp8.Float8LinearConfig) {
			*c = rowwise
			c.EnableFsdpFloat8AllGather = true
		}, []string{
			`float8: EnableFsdpFloat8AllGather = true needs a weight whose float8 bytes serve both matmuls, found w: axiswise and w_gi: tensorwise; set it to false, or use recipe "tensorwise" or "rowwise"`,
		}},
		{"gather of rows, whose scales a delayed cast cannot take", func(c *fp8.Float8LinearConfig) {
			c.CastConfigWeight, c.CastConfigGradOutput, c.EnableFsdpFloat8AllGather = rows, delayed, true
		}, []string{
			`float8: EnableFsdpFloat8AllGather = true folds the scales of the weight's rows into grad_output, whose scaling_type must be "dynamic" then, found go: delayed; set it to false, or use recipe "tensorwise" or "rowwise"`,
		}},
		{"gather of a weight that grad_input does not cast", func(c *fp8.Float8LinearConfig) {
			c.CastConfigWeightForGradInput, c.CastConfigGradOutput, c.EnableFsdpFloat8AllGather = off, off, true
			c.CastConfigGradOutputForGradWeight = cast(fp8.Dynamic, fp8.Tensorwise)
		}, []string{
			`float8: EnableFsdpFloat8AllGather = true needs a weight whose float8 bytes serve both matmuls, found w: dynamic and w_gi: disabled; set it to false, or use recipe "tensorwise" or "rowwise"`,
		}},
		{"no history", func(c *fp8.Float8LinearConfig) { c.CastConfigInput, c.DelayedScalingConfig.HistoryLen = delayed, 0 },
			[]string{"float8: delayed_scaling_config: history_len = 0: must be at least 1 (16 is usual)"}},
		{"another scale function", func(c *fp8.Float8LinearConfig) {
			c.CastConfigInput, c.DelayedScalingConfig.ScaleFnName = delayed, "most_recent"
		}, []string{`float8: delayed_scaling_config: scale_fn_name "most_recent": only "max" is implemented`}},
		{"no history where none is needed", func(c *fp8.Float8LinearConfig) { c.DelayedScalingConfig = fp8.DelayedScalingConfig{} }, nil},
		{"axiswise, also on the wire", func(c *fp8.Float8LinearConfig) { all(c, rows); c.EnableFsdpFloat8AllGather = true }, nil},
		{"padding", func(c *fp8.Float8LinearConfig) { c.PadInnerDim = true }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := nn.NewLinear(16, 16, nn.LinearOptions{})
			_, err := fp8.ConvertToFloat8Training(l, configured(tt.change), fp8.FilterFQNs())
			if (err != nil) != (tt.want != nil) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if err == nil {
				return
			}
			lines := strings.Split(err.Error(), "\n")
			for i, line := range lines {
				if i >= len(tt.want) || line != tt.want[i] {
					t.Errorf("error\n%v\nwant\n%s", err, strings.Join(tt.want, "\n"))
					break
				}
			}
			if len(lines) < len(tt.want) {
				t.Errorf("error\n%v\nwant\n%s", err, strings.Join(tt.want, "\n"))
			}
			if isFloat8(l) {
				t.Error("converted in spite of the error")
			}
		})
	}
}

func TestAnUnknownRecipeIsRefusedWithThoseThatThereAre(t *testing.T) {
	_, err := fp8.ConfigFromRecipe("colwise")
	if want := `fp8: there is no recipe "colwise"; there are "tensorwise", "rowwise", "rowwise_with_gw_hp", "delayed"`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestNamedRecipes: what each means, as torchao prints it, and which need the sync.
func TestNamedRecipes(t *testing.T) {
	for name, want := range map[fp8.RecipeName]struct {
		casts      string
		pow2, sync bool
	}{
		"":                        {casts: "i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2"},
		fp8.RecipeTensorwise:      {casts: "i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2"},
		fp8.RecipeRowwise:         {casts: "i:dyn_axs_e4m3,w:dyn_axs_e4m3,go:dyn_axs_e4m3", pow2: true},
		fp8.RecipeRowwiseWithGWHP: {casts: "i:dyn_axs_e4m3,w:dyn_axs_e4m3,go:dyn_axs_e4m3,i_gw:dis_ten_e4m3,w_gi:dyn_ten_e4m3,go_gw:dis_ten_e4m3", pow2: true},
		fp8.RecipeDelayed:         {casts: "i:del_ten_e4m3,w:del_ten_e4m3,go:del_ten_e5m2", sync: true},
	} {
		cfg, err := fp8.ConfigFromRecipe(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := cfg.Recipe()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if r.String() != want.casts || cfg.RoundScalesToPowerOf2 != want.pow2 || cfg.RequiresSync() != want.sync {
			t.Errorf("recipe %q is %v, powers of two %v, sync %v; want %+v", name, r, cfg.RoundScalesToPowerOf2, cfg.RequiresSync(), want)
		}
	}
}

// TestRequiresSync holds for a delayed cast wherever it is.
func TestRequiresSync(t *testing.T) {
	delayed := cast(fp8.Delayed, fp8.Tensorwise)
	for field, change := range map[string]func(*fp8.Float8LinearConfig){
		"input":                       func(c *fp8.Float8LinearConfig) { c.CastConfigInput = delayed },
		"weight":                      func(c *fp8.Float8LinearConfig) { c.CastConfigWeight = delayed },
		"grad_output":                 func(c *fp8.Float8LinearConfig) { c.CastConfigGradOutput = delayed },
		"grad_output_for_grad_weight": func(c *fp8.Float8LinearConfig) { c.CastConfigGradOutputForGradWeight = delayed },
	} {
		if !configured(change).RequiresSync() {
			t.Errorf("a delayed %s needs no sync", field)
		}
	}
}

// TestTheTableOfARecipe: what the fields of a configuration mean for each matmul.
func TestTheTableOfARecipe(t *testing.T) {
	off := cast(fp8.Disabled, fp8.Tensorwise)
	for _, tt := range []struct {
		name   string
		change func(*fp8.Float8LinearConfig)
		want   string
	}{
		{"default", func(*fp8.Float8LinearConfig) {}, `
matmul       a                   b                   fast accum  out
output       i:dyn_ten_e4m3      w:dyn_ten_e4m3      yes         as activations
grad_input   go:dyn_ten_e5m2     w_gi:dyn_ten_e4m3   no          as activations
grad_weight  go_gw:dyn_ten_e5m2  i_gw:dyn_ten_e4m3   no          float32
`},
		{"fast where nobody else is, grad_weight off", func(c *fp8.Float8LinearConfig) {
			c.GemmConfigOutput, c.GemmConfigGradInput, c.GemmConfigGradWeight = fp8.GemmConfig{}, fp8.GemmConfig{UseFastAccum: true}, fp8.GemmConfig{UseFastAccum: true}
			c.CastConfigInputForGradWeight, c.CastConfigGradOutputForGradWeight = off, off
		}, `
matmul       a                   b                   fast accum  out
output       i:dyn_ten_e4m3      w:dyn_ten_e4m3      no          as activations
grad_input   go:dyn_ten_e5m2     w_gi:dyn_ten_e4m3   yes         as activations
grad_weight  go_gw:dis_ten_e5m2  i_gw:dis_ten_e4m3   no          float32
`},
		{"emulated", func(c *fp8.Float8LinearConfig) { c.Emulate = true }, `
matmul       a                   b                   fast accum  out
output       i:dyn_ten_e4m3      w:dyn_ten_e4m3      no          as activations
grad_input   go:dyn_ten_e5m2     w_gi:dyn_ten_e4m3   no          as activations
grad_weight  go_gw:dyn_ten_e5m2  i_gw:dyn_ten_e4m3   no          float32
`},
	} {
		r, err := configured(tt.change).Recipe()
		if err != nil || r.Table() != tt.want[1:] {
			t.Errorf("%s: %v\n%swant%s", tt.name, err, r.Table(), tt.want)
		}
	}
}
