// SPDX-License-Identifier: Apache-2.0

package nn_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
	"octet/test/ranks"
)

// cached is an attention of grouped queries, with weights, and what it runs with.
func cached(t *testing.T) (*nn.Attention, *nn.Ctx) {
	dev := ranks.Device(t, ranks.Options{})
	c := &nn.Ctx{Stream: dev.NewStream("test"), Pool: device.NewPool(dev), Act: dtype.Float32, Mode: nn.Eval}
	linear := func(in, out int) *nn.Linear { return nn.NewLinear(in, out, nn.LinearOptions{Init: nn.Normal(0.3)}) }
	a := &nn.Attention{WQ: linear(12, 32), WK: linear(12, 16), WV: linear(12, 16), WO: linear(32, 12), HeadDim: 8,
		RoPE: &nn.RoPE{HeadDim: 8, MaxSeq: 16, Theta: 100}}
	nn.AssignNames(a)
	for name, p := range nn.Parameters(a) {
		values := make([]float32, p.Numel())
		p.Init.Fill(values, 1, name, 0)
		w := c.Pool.New(dtype.Float32, p.Shape...)
		c.Stream.Upload(w, device.Float32Bytes(values))
		p.Lend(&nn.Whole{Value: tensor.Operand{Tensor: w}})
	}
	return a, c
}

// attend is the attention's output for x [1,S,12].
func attend(t *testing.T, a *nn.Attention, c *nn.Ctx, x []float32) []float32 {
	t.Helper()
	in := c.Pool.New(dtype.Float32, 1, len(x)/12, 12)
	c.Stream.Upload(in, device.Float32Bytes(x))
	y := a.Forward(c, nn.Input(in))
	out := make([]float32, len(x))
	c.Stream.Download(device.Float32Bytes(out), y.Value.Tensor)
	if err := c.Stream.Sync(); err != nil {
		t.Fatal(err)
	}
	y.Done(c)
	c.Pool.Free(in)
	return out
}

// TestACacheChangesNothing: a sequence in pieces of any lengths gives what it gives at once, and after a Reset another one does.
func TestACacheChangesNothing(t *testing.T) {
	a, c := cached(t)
	const n = 11
	for seed, pieces := range [][]int{{n}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {4, 1, 6}, {10, 1}} {
		x := make([]float32, n*12)
		nn.Normal(1).Fill(x, uint64(seed), "x", 0)
		c.Cache = nil
		want := attend(t, a, c, x)
		cache := nn.NewKVCache(n)
		for range 2 {
			c.Cache = cache
			cache.Reset()
			at := 0
			for _, s := range pieces {
				cache.Extend(s)
				for i, got := range attend(t, a, c, x[at*12:(at+s)*12]) {
					if d := math.Abs(float64(got - want[at*12+i])); d > 1e-5 {
						t.Errorf("pieces %v: position %d differs by %g", pieces, at+i/12, d)
					}
				}
				at += s
			}
			if cache.Len() != n {
				t.Errorf("%d positions, want %d", cache.Len(), n)
			}
		}
	}
}

// TestABadUseOfACachePanics, with the numbers.
func TestABadUseOfACachePanics(t *testing.T) {
	a, c := cached(t)
	says := func(want string, f func()) {
		t.Helper()
		defer func() {
			if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
				t.Errorf("panic %q, want one with %q", got, want)
			}
		}()
		f()
	}
	c.Cache = nn.NewKVCache(4)
	c.Cache.Extend(3)
	says("a cache for 4 positions, which has 3, is to get 2 more", func() { c.Cache.Extend(2) })
	says("is to get 0 more", func() { c.Cache.Extend(0) })
	says("attention to [1 2 12] with a cache that was extended by 3", func() { attend(t, a, c, make([]float32, 24)) })
	c.Mode, c.Tape = nn.Train, &nn.Tape{}
	says("want Eval mode", func() { attend(t, a, c, make([]float32, 36)) })
}
