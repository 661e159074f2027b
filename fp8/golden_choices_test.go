// SPDX-License-Identifier: Apache-2.0

package fp8_test

import (
	"fmt"
	"testing"

	"octet/dtype"
	"octet/fp8"
	"octet/nn"
)

// TestLinearsOfNoNamedRecipeAreTorchaos: tensor-wise with powers of two, and with the
// products of backward in high precision; neither passes for its neighbours.
func TestLinearsOfNoNamedRecipeAreTorchaos(t *testing.T) {
	pow2 := func(c *fp8.Float8LinearConfig) { c.RoundScalesToPowerOf2 = true }
	inputOnly := func(c *fp8.Float8LinearConfig) {
		c.CastConfigGradOutput, c.CastConfigWeightForGradInput = disabled, disabled
		c.CastConfigInputForGradWeight, c.CastConfigGradOutputForGradWeight = disabled, disabled
	}
	for file, tt := range map[string]struct {
		change   func(*fp8.Float8LinearConfig)
		mistakes map[string]func(*fp8.Float8LinearConfig)
	}{
		"tensorwise_pow2": {pow2, map[string]func(*fp8.Float8LinearConfig){
			"scales as they come": func(c *fp8.Float8LinearConfig) { c.RoundScalesToPowerOf2 = false },
			"dX in high precision": func(c *fp8.Float8LinearConfig) {
				c.CastConfigGradOutput, c.CastConfigWeightForGradInput = disabled, disabled
				c.CastConfigGradOutputForGradWeight = cast(fp8.Dynamic, fp8.Tensorwise)
				c.CastConfigGradOutput.TargetDType, c.CastConfigGradOutputForGradWeight.TargetDType = dtype.Float8E5M2, dtype.Float8E5M2
			},
		}},
		"input_only": {inputOnly, map[string]func(*fp8.Float8LinearConfig){
			"all in float8": func(c *fp8.Float8LinearConfig) { *c = fp8.DefaultConfig() },
			"dW in float8": func(c *fp8.Float8LinearConfig) {
				c.CastConfigInputForGradWeight, c.CastConfigGradOutputForGradWeight = cast(fp8.Dynamic, fp8.Tensorwise), cast(fp8.Dynamic, fp8.Tensorwise)
			},
			"powers of two": pow2,
		}},
	} {
		for name, act := range map[string]dtype.Type{"f32": dtype.Float32, "bf16": dtype.BFloat16} {
			for _, emulate := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/emulate=%v", file, name, emulate), func(t *testing.T) {
					eachISA(t, func(t *testing.T, isa string) {
						wrong := func(change func(*fp8.Float8LinearConfig)) []string {
							return linear(t, isa, fmt.Sprintf("linear_%s_%s.safetensors", file, name), act, isa == "avx512fp16" && !emulate, func(l *nn.Linear) {
								convertBy(t, l, fp8.RecipeTensorwise, func(c *fp8.Float8LinearConfig) {
									tt.change(c)
									change(c)
									c.Emulate = emulate
								})
							})
						}
						for _, w := range wrong(func(*fp8.Float8LinearConfig) {}) {
							t.Error(w)
						}
						for mistake, change := range tt.mistakes {
							if len(wrong(change)) == 0 {
								t.Errorf("%s passes for torchao's", mistake)
							}
						}
					})
				})
			}
		}
	}
}
