// SPDX-License-Identifier: Apache-2.0

package fp8_test

import (
	"fmt"
	"math"
	"testing"

	"octet/dtype"
	"octet/fp8"
	"octet/nn"
	"octet/nn/nntest"
	"octet/test/golden"
	"octet/test/ranks"
)

// eachISA runs f with the kernels of every instruction set, as OCTET_CPU_ISA
// names them.
func eachISA(t *testing.T, f func(t *testing.T, isa string)) {
	for _, isa := range []string{"portable", "avx2", "avx512", "avx512bf16", "avx512fp16", "amxbf16"} {
		t.Run(isa, func(t *testing.T) {
			ranks.Device(t, ranks.Options{ISA: isa}) // or skip
			f(t, isa)
		})
	}
}

// convert makes l compute in tensor-wise float8.
func convert(t *testing.T, l *nn.Linear, change func(*fp8.Float8LinearConfig)) {
	t.Helper()
	convertBy(t, l, fp8.RecipeTensorwise, change)
}

// convertBy makes l compute by a recipe that is changed.
func convertBy(t *testing.T, l *nn.Linear, name fp8.RecipeName, change func(*fp8.Float8LinearConfig)) {
	t.Helper()
	cfg, err := fp8.ConfigFromRecipe(name)
	if err != nil {
		t.Fatal(err)
	}
	change(&cfg)
	if _, err := fp8.ConvertToFloat8Training(l, cfg, fp8.FilterFQNs()); err != nil {
		t.Fatal(err)
	}
}

// mistakes are what could pass for each recipe, and must not; nil: no float8. What
// shares a scale is not among them: powers of two leave values as they are, but
// for subnormal ones. It shows in the bytes of TestGoldenLayer.
var mistakes = map[fp8.RecipeName]map[string]func(*fp8.Float8LinearConfig){
	fp8.RecipeTensorwise: {
		"no float8":     nil,
		"powers of two": func(c *fp8.Float8LinearConfig) { c.RoundScalesToPowerOf2 = true },
		"dY in e4m3":    func(c *fp8.Float8LinearConfig) { c.CastConfigGradOutput.TargetDType = dtype.Float8E4M3 },
		"dY in e4m3 and W in e5m2": func(c *fp8.Float8LinearConfig) {
			c.CastConfigGradOutput.TargetDType, c.CastConfigWeight.TargetDType = dtype.Float8E4M3, dtype.Float8E5M2
		},
	},
	fp8.RecipeRowwise: {
		"no float8":           nil,
		"scales as they come": func(c *fp8.Float8LinearConfig) { c.RoundScalesToPowerOf2 = false },
		"dY in e5m2":          func(c *fp8.Float8LinearConfig) { c.CastConfigGradOutput.TargetDType = dtype.Float8E5M2 },
		"dW in high precision": func(c *fp8.Float8LinearConfig) {
			c.CastConfigInputForGradWeight, c.CastConfigGradOutputForGradWeight = disabled, disabled
		},
	},
	fp8.RecipeRowwiseWithGWHP: {
		"no float8":           nil,
		"scales as they come": func(c *fp8.Float8LinearConfig) { c.RoundScalesToPowerOf2 = false },
		"dW in float8": func(c *fp8.Float8LinearConfig) {
			c.CastConfigInputForGradWeight, c.CastConfigGradOutputForGradWeight = fp8.CastConfig{}, fp8.CastConfig{}
		},
	},
}

var disabled = fp8.CastConfig{ScalingType: fp8.Disabled, ScalingGranularity: fp8.Tensorwise}

// TestLinearIsTorchaos compares a float8 Linear with torchao's, which multiplies
// in float32 (emulate). The kernels that multiply float8 itself must agree but
// for the unit of AVX512-FP16, which may sum the output, not the gradients, in
// less (fast accumulation). Other arithmetics do not pass.
func TestLinearIsTorchaos(t *testing.T) {
	types := map[string]dtype.Type{"f32": dtype.Float32, "bf16": dtype.BFloat16}
	for recipe, mistakes := range mistakes {
		for name, act := range types {
			for _, emulate := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/emulate=%v", recipe, name, emulate), func(t *testing.T) {
					eachISA(t, func(t *testing.T, isa string) {
						fast := isa == "avx512fp16" && !emulate
						file := fmt.Sprintf("linear_%s_%s.safetensors", recipe, name)
						for _, wrong := range linear(t, isa, file, act, fast, func(l *nn.Linear) {
							convertBy(t, l, recipe, func(c *fp8.Float8LinearConfig) { c.Emulate = emulate })
						}) {
							t.Error(wrong)
						}
						for mistake, change := range mistakes {
							if wrong := linear(t, isa, file, act, fast, func(l *nn.Linear) {
								if change != nil {
									convertBy(t, l, recipe, func(c *fp8.Float8LinearConfig) { c.Emulate = emulate; change(c) })
								}
							}); len(wrong) == 0 {
								t.Errorf("%s passes for torchao's", mistake)
							}
						}
					})
				})
			}
		}
	}
}

// linear runs the Linear of a golden file after a change to it, and lists what is
// not torchao's.
func linear(t *testing.T, isa, file string, act dtype.Type, fast bool, change func(*nn.Linear)) (wrong []string) {
	t.Helper()
	const m, k, n = 48, 64, 80
	set := golden.Open(t, file)
	r := nntest.New(t, ranks.Device(t, ranks.Options{ISA: isa}), act)
	l := nn.NewLinear(k, n, nn.LinearOptions{})
	change(l)
	r.Load(l, func(*nn.Param) []float32 { return set.Floats(t, "w") })
	x := nn.Watch(r.As(act, set.Floats(t, "x"), m, k))
	y := r.Pass(l, x, set.Floats(t, "dy"))
	dw := r.Grad(l.Weight)
	if act == dtype.BFloat16 {
		// octet keeps dW in float32, torchao has it in the type of activations.
		for i := range dw {
			dw[i] = dtype.ToBF16(dw[i]).Float32()
		}
	}
	for _, c := range []struct {
		name string
		got  []float32
		fast bool
	}{{"y", y, fast}, {"dx", r.Get(x.Grad().Tensor), false}, {"dw", dw, false}} {
		if off := compare(act, c.got, set.Floats(t, c.name), c.fast); off != "" {
			wrong = append(wrong, c.name+": "+off)
		}
	}
	return wrong
}

// compare holds got to 1e-5 of the norm of want in float32, to one ulp of 99.9%
// of the values in bfloat16; to 4e-3 of the norm where sums were fast: sums of 64
// products in fp16 are off by 1.1e-3, and bfloat16 rounds as much again. It says
// what does not hold.
func compare(act dtype.Type, got, want []float32, fast bool) string {
	bound := 4e-3
	switch {
	case fast:
	case act == dtype.Float32:
		bound = 1e-5
	default:
		far := 0
		for i := range want {
			if ulpsApart(got[i], want[i]) > 1 {
				far++
			}
		}
		if far*1000 > len(want) {
			return fmt.Sprintf("%d of %d values are more than one ulp off", far, len(want))
		}
		return ""
	}
	if d := nntest.Off(got, want); !(d <= bound) {
		return fmt.Sprintf("off by %.2g of its norm, more than %.2g", d, bound)
	}
	return ""
}

// ulpsApart counts the bfloat16 values between two of them.
func ulpsApart(a, b float32) int {
	order := func(x float32) int {
		bits := int(int32(math.Float32bits(x)) >> 16)
		if bits < 0 {
			return -(bits & 0x7FFF)
		}
		return bits
	}
	d := order(a) - order(b)
	return max(d, -d)
}
