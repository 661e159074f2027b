// SPDX-License-Identifier: Apache-2.0

package nn_test

import (
	"testing"

	"octet/checkpoint/safetensors"
	"octet/dtype"
	"octet/nn"
	"octet/nn/nntest"
	"octet/test/ranks"
)

// TestModulesGivePyTorchsNumbers, forward and backward, on the best kernels and on
// the portable ones (testdata/golden/modules.py).
func TestModulesGivePyTorchsNumbers(t *testing.T) {
	set, err := safetensors.Open("../testdata/golden/modules.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	golden := func(name string) []float32 {
		t.Helper()
		info, raw, err := set.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		x := make([]float32, len(raw)/4)
		if err := safetensors.DecodeFloat32(x, info.DType, raw); err != nil {
			t.Fatal(err)
		}
		return x
	}
	same := func(t *testing.T, what string, got []float32) {
		t.Helper()
		if off := nntest.Off(got, golden(what)); !(off < 1e-6) {
			t.Errorf("%s is off by %.2g of its norm", what, off)
		}
	}
	for _, isa := range []string{"", "portable"} {
		t.Run("kernels "+isa, func(t *testing.T) {
			r := nntest.New(t, ranks.Device(t, ranks.Options{ISA: isa}), dtype.Float32)
			norm := nn.NewLayerNorm(33, 1e-5)
			r.Load(norm, func(p *nn.Param) []float32 { return golden("layer_norm." + p.Name) })
			for name, m := range map[string]nn.Module{"relu": nn.NewReLU(), "gelu": nn.NewGELU(), "gelu_tanh": nn.NewGELUTanh(), "layer_norm": norm} {
				x := nn.Watch(r.Put(golden("x"), 6, 33))
				same(t, name+".y", r.Pass(m, x, golden("dy")))
				same(t, name+".dx", r.Get(x.Grad().Tensor))
				x.FreeGrad(r.Ctx)
			}
			same(t, "layer_norm.dw", r.Grad(norm.Weight))
			same(t, "layer_norm.db", r.Grad(norm.Bias))

			y := nn.Watch(r.Put(golden("x"), 6, 33))
			loss := r.Loss(1.0 / (6 * 33)) // the mean
			nn.MeanSquaredError(r.Ctx, y, r.Put(golden("target"), 6, 33))
			same(t, "mse.y", r.Get(loss))
			same(t, "mse.dx", r.Get(y.Grad().Tensor))
		})
	}
}
