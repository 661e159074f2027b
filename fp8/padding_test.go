// SPDX-License-Identifier: Apache-2.0

package fp8_test

import (
	"fmt"
	"testing"

	"octet/dtype"
	"octet/fp8"
	"octet/nn"
	"octet/nn/nntest"
	"octet/tensor"
	"octet/test/ranks"
)

// shapes is a Caster that notes the rows of what it makes of an input and of grad_output
// for grad_weight.
type shapes struct {
	nn.Caster
	rows map[nn.Role]int
}

func (s *shapes) Cast(c *nn.Ctx, x tensor.Operand, now, later nn.Role) (a, b tensor.Operand) {
	a, b = s.Caster.Cast(c, x, now, later)
	if later != nn.NoRole {
		s.rows[now], _ = a.Value()
		s.rows[later], _ = b.Value()
	}
	return a, b
}

// TestPaddingChangesNoBit: where a device wants sums over multiples of 16, operands of
// grad_weight have rows of zeros added, of every recipe; its gradient and the products
// stay as they are. Others multiply what there is.
func TestPaddingChangesNoBit(t *testing.T) {
	for _, recipe := range fp8.RecipeNames() {
		for _, tokens := range []int{16, 21} {
			pass := func(tn, pad bool) (string, map[nn.Role]int) {
				l := nn.NewLinear(32, 48, nn.LinearOptions{})
				convertBy(t, l, recipe, func(c *fp8.Float8LinearConfig) { c.PadInnerDim = pad })
				one := ranks.Open(t, 1, ranks.Options{Float8TN: tn})[0]
				r := nntest.New(t, one.Device, dtype.BFloat16)
				fp8.ScalesOf(l).Allocate(r.Ctx, one.World)
				saw := &shapes{Caster: l.Caster, rows: map[nn.Role]int{}}
				l.Caster = saw
				r.Load(l, r.Random)
				x := nn.Watch(r.As(dtype.BFloat16, r.Normal(tokens*32, 1), tokens, 32))
				y := r.Pass(l, x, r.Normal(tokens*48, 1))
				made := fmt.Sprint(y, r.Get(x.Grad().Tensor), r.Grad(l.Weight))
				x.FreeGrad(r.Ctx)
				if live := r.Ctx.Pool.Live(); live != 0 {
					t.Errorf("%s: %d bytes are in use after a pass", recipe, live)
				}
				return made, saw.rows
			}
			want, plain := pass(false, false)
			if plain[nn.InForGW] != tokens {
				t.Errorf("%s: %d rows for grad_weight, of %d tokens", recipe, plain[nn.InForGW], tokens)
			}
			for _, tn := range []bool{false, true} {
				got, rows := pass(tn, true)
				if got != want {
					t.Errorf("%s, %d tokens, one layout %v: padding changes bits", recipe, tokens, tn)
				}
				padded := tokens
				if tn && recipe != fp8.RecipeRowwiseWithGWHP { // which has no float8 there
					padded = (tokens + 15) / 16 * 16
				}
				if rows[nn.In] != tokens || rows[nn.InForGW] != padded || rows[nn.GradOutForGW] != padded {
					t.Errorf("%s, %d tokens, one layout %v: rows %v, want %d for grad_weight", recipe, tokens, tn, rows, padded)
				}
			}
		}
	}
}
