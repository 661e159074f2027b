// SPDX-License-Identifier: Apache-2.0

package nn_test

import (
	"testing"

	"octet/dtype"
	"octet/nn"
	"octet/nn/nntest"
	"octet/test/golden"
	"octet/test/ranks"
)

// TestModulesGivePyTorchsNumbers, forward and backward, on the best kernels and on
// the portable ones (testdata/golden/modules.py).
func TestModulesGivePyTorchsNumbers(t *testing.T) {
	set := golden.Open(t, "modules.safetensors")
	same := func(t *testing.T, what string, got []float32) {
		t.Helper()
		if off := nntest.Off(got, set.Floats(t, what)); !(off < 1e-6) {
			t.Errorf("%s is off by %.2g of its norm", what, off)
		}
	}
	for _, isa := range []string{"", "portable"} {
		t.Run("kernels "+isa, func(t *testing.T) {
			r := nntest.New(t, ranks.Device(t, ranks.Options{ISA: isa}), dtype.Float32)
			norm := nn.NewLayerNorm(33, 1e-5)
			r.Load(norm, func(p *nn.Param) []float32 { return set.Floats(t, "layer_norm."+p.Name) })
			for name, m := range map[string]nn.Module{"relu": nn.NewReLU(), "gelu": nn.NewGELU(), "gelu_tanh": nn.NewGELUTanh(), "layer_norm": norm} {
				x := nn.Watch(r.Put(set.Floats(t, "x"), 6, 33))
				same(t, name+".y", r.Pass(m, x, set.Floats(t, "dy")))
				same(t, name+".dx", r.Get(x.Grad().Tensor))
				x.FreeGrad(r.Ctx)
			}
			same(t, "layer_norm.dw", r.Grad(norm.Weight))
			same(t, "layer_norm.db", r.Grad(norm.Bias))

			y := nn.Watch(r.Put(set.Floats(t, "x"), 6, 33))
			loss := r.Loss(1.0 / (6 * 33)) // the mean
			nn.MeanSquaredError(r.Ctx, y, r.Put(set.Floats(t, "target"), 6, 33))
			same(t, "mse.y", r.Get(loss))
			same(t, "mse.dx", r.Get(y.Grad().Tensor))
		})
	}
}
