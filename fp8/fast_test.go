// SPDX-License-Identifier: Apache-2.0

package fp8_test

import (
	"fmt"
	"slices"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/nn"
	"octet/tensor"
	"octet/test/ranks"
)

// sums is a stream that notes which matmuls of a Linear may sum in less than float32.
type sums struct {
	device.Stream
	fast [nn.NumMatMuls]bool
}

func (s *sums) MatMul(dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions) {
	m := nn.GradInput
	switch {
	case o.TransB:
		m = nn.Output
	case o.TransA:
		m = nn.GradWeight
	}
	s.fast[m] = o.FastAccum
	s.Stream.MatMul(dst, a, b, o)
}

// TestFastAccumulationIsOfTheMatMulThatAsksForIt, and of none that is emulated or is not
// float8.
func TestFastAccumulationIsOfTheMatMulThatAsksForIt(t *testing.T) {
	for m := range nn.NumMatMuls {
		for _, emulate := range []bool{false, true} {
			cfg := configured(func(c *fp8.Float8LinearConfig) {
				c.GemmConfigOutput.UseFastAccum, c.Emulate = false, emulate
				[]*fp8.GemmConfig{nn.Output: &c.GemmConfigOutput, nn.GradInput: &c.GemmConfigGradInput, nn.GradWeight: &c.GemmConfigGradWeight}[m].UseFastAccum = true
			})
			l := nn.NewLinear(32, 16, nn.LinearOptions{})
			r := newRig(t, ranks.Options{}, dtype.BFloat16, l, cfg)
			noted := &sums{Stream: r.Ctx.Stream}
			r.Ctx.Stream = noted
			x := nn.Watch(r.As(dtype.BFloat16, r.Normal(16*32, 1), 16, 32))
			r.Pass(l, x, r.Normal(16*16, 1))
			var want [nn.NumMatMuls]bool
			want[m] = !emulate
			if noted.fast != want {
				t.Errorf("asked for by matmul %d, emulate %v: fast are %v, want %v", m, emulate, noted.fast, want)
			}
			recipe, err := cfg.Recipe()
			if name := []string{"output", "grad_input", "grad_weight"}[m]; err != nil || slices.Equal(recipe.Fast(), []string{name}) == emulate {
				t.Error(fmt.Sprint(recipe.Fast(), err), "is what the recipe lists of", name)
			}
		}
	}
}
