// SPDX-License-Identifier: Apache-2.0

package fp8_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"octet/comm/grid"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/nn/nntest"
	"octet/test/ranks"
)

// sqnr is the signal to quantisation noise ratio, in dB.
func sqnr(got, want []float32) float64 { return -20 * math.Log10(nntest.Off(got, want)) }

// pass is what a module computes: its output, and the gradients of its input and
// of its parameters.
type pass struct {
	y, dx []float32
	dw    map[string][]float32
}

// passOf runs a module on x [rows,k], sharded over one rank, in activations of a type,
// after passes of the same weights over other inputs and gradients.
func passOf(t *testing.T, isa string, act dtype.Type, m nn.Module, values map[string][]float32, x, dy []float32, k int, before ...[2][]float32) pass {
	t.Helper()
	var p pass
	ranks.Run(t, 1, ranks.Options{ISA: isa}, func(rank *ranks.Rank) error {
		r := nntest.New(t, rank.Device, act)
		scales := fp8.ScalesOf(m)
		f, err := fsdp.Shard(&m, grid.Line(rank.World, fsdp.Axis), fsdp.Options{Param: act}, func(string, nn.Module) bool { return false })
		if err == nil {
			err = f.Allocate(r.Device)
		}
		if err != nil {
			return err
		}
		for _, param := range f.Params() {
			param.Set(r.Ctx.Stream, values[param.Name])
		}
		scales.Allocate(r.Ctx, rank.World)
		for _, batch := range append(before, [2][]float32{x, dy}) {
			v := nn.Watch(r.As(act, batch[0], len(x)/k, k))
			f.Begin(r.Ctx, true)
			y := m.Forward(r.Ctx, v)
			p.y = r.Get(y.Value.Tensor)
			grad := r.Ctx.New(y.Shape()...)
			r.Ctx.Stream.Copy(grad, r.Put(batch[1], y.Shape()...))
			y.SetGrad(grad)
			r.Ctx.Tape.Backward()
			f.Finish(r.Ctx)
			scales.SyncFloat8AmaxAndScaleHistory(r.Ctx)
			p.dx, p.dw = r.Get(v.Grad().Tensor), map[string][]float32{}
			v.FreeGrad(r.Ctx)
		}
		for _, param := range f.Params() {
			p.dw[param.Name] = r.Get(param.LocalGrad())
		}
		return nil
	})
	return p
}

func normal(n int, std float64, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * std)
	}
	return x
}

// spread multiplies the rows and columns of x [rows,cols] each by a factor of e^±by.
func spread(x []float32, cols int, by float64, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 2))
	draw := func(n int) []float64 {
		f := make([]float64, n)
		for i := range f {
			f[i] = math.Exp(by * (2*r.Float64() - 1))
		}
		return f
	}
	row, col := draw(len(x)/cols), draw(cols)
	for i := range x {
		x[i] *= float32(row[i/cols] * col[i%cols])
	}
	return x
}

// TestFoldedScalesCostNothing: grad_input from weights that were gathered by rows, whose
// scales grad_output takes before its cast, is as good as from a weight that is
// cast once more along the other dimension, however rows and columns are spread. Both are
// better than one scale for all.
func TestFoldedScalesCostNothing(t *testing.T) {
	const m, n, k = 512, 704, 256
	for _, by := range []float64{0, 1, 2} {
		x, w, dy := normal(m*k, 1, 1), spread(normal(n*k, 0.05, 2), k, by, 3), spread(normal(m*n, 1e-3, 4), n, by, 5)
		dx := make([]float32, m*k)
		row := make([]float64, k)
		for i := range m {
			clear(row)
			for j := range n {
				for l, v := range w[j*k : (j+1)*k] {
					row[l] += float64(dy[i*n+j]) * float64(v)
				}
			}
			for l, v := range row {
				dx[i*k+l] = float32(v)
			}
		}
		of := func(recipe fp8.RecipeName, pow2, gather bool, change ...func(*fp8.Float8LinearConfig)) float64 {
			l := nn.NewLinear(k, n, nn.LinearOptions{})
			convertBy(t, l, recipe, func(c *fp8.Float8LinearConfig) {
				c.EnableFsdpFloat8AllGather, c.RoundScalesToPowerOf2 = gather, pow2
				for _, f := range change {
					f(c)
				}
			})
			return sqnr(passOf(t, "", dtype.Float32, l, map[string][]float32{"weight": w}, x, dy, k).dx, dx)
		}
		if by == 0 { // the scales are folded into what has one scale as well
			mixed := func(c *fp8.Float8LinearConfig) { c.CastConfigGradOutput.ScalingGranularity = fp8.Tensorwise }
			twice, folded := of(fp8.RecipeRowwise, true, false, mixed), of(fp8.RecipeRowwise, true, true, mixed)
			if !(folded > twice-0.3 && folded > 27.5) {
				t.Errorf("grad_output with one scale: two casts %.2f dB, folded %.2f", twice, folded)
			}
		}
		one := of(fp8.RecipeTensorwise, false, true)
		for _, pow2 := range []bool{true, false} {
			twice, folded := of(fp8.RecipeRowwise, pow2, false), of(fp8.RecipeRowwise, pow2, true)
			t.Logf("spread by e^±%v, powers of two %v: two casts %.2f dB, folded %.2f, tensor-wise %.2f", by, pow2, twice, folded, one)
			if !(folded > twice-0.3 && folded > 27.5 && folded > one+2) {
				t.Errorf("spread by e^±%v, powers of two %v: two casts %.2f dB, folded %.2f, tensor-wise %.2f", by, pow2, twice, folded, one)
			}
		}
	}
}

// The feed-forward of the bounds in dB: a SwiGLU.
const tokens, dim, hidden = 512, 256, 704

func buildFFN() nn.Module {
	return &nn.FeedForward{W1: nn.NewLinear(dim, hidden, nn.LinearOptions{}), W2: nn.NewLinear(hidden, dim, nn.LinearOptions{}), W3: nn.NewLinear(dim, hidden, nn.LinearOptions{})}
}

// ffnInputs are its weights, an input and a gradient.
func ffnInputs() (values map[string][]float32, x, dy []float32) {
	values = map[string][]float32{}
	for i, name := range []string{"w1.weight", "w2.weight", "w3.weight"} {
		in := []int{dim, hidden, dim}[i]
		values[name] = normal(dim*hidden, 1/math.Sqrt(float64(in)), uint64(10+i))
	}
	return values, normal(tokens*dim, 1, 20), normal(tokens*dim, 1, 21)
}

// TestFeedForwardIsCloseToHighPrecision holds octet's row-wise recipes to the bounds of
// a SwiGLU feed-forward, dim 256, hidden 704, 512 tokens: dB of its output, of the
// gradients of its input and of each weight against those of high precision.
func TestFeedForwardIsCloseToHighPrecision(t *testing.T) {
	values, x, dy := ffnInputs()
	want := passOf(t, "", dtype.Float32, buildFFN(), values, x, dy, dim)
	for recipe, least := range map[fp8.RecipeName][3]float64{fp8.RecipeRowwise: {22, 19.5, 22.5}, fp8.RecipeRowwiseWithGWHP: {22, 19.5, 24}} {
		for _, gather := range []bool{false, true} {
			if gather && recipe != fp8.RecipeRowwise {
				continue
			}
			t.Run(fmt.Sprintf("%s, float8 wire %v", recipe, gather), func(t *testing.T) {
				eachISA(t, func(t *testing.T, isa string) {
					cfg, err := fp8.ConfigFromRecipe(recipe)
					if err != nil {
						t.Fatal(err)
					}
					cfg.EnableFsdpFloat8AllGather = gather
					m, err := fp8.ConvertToFloat8Training(buildFFN(), cfg, fp8.FilterFQNs())
					if err != nil {
						t.Fatal(err)
					}
					got := passOf(t, isa, dtype.BFloat16, m, values, x, dy, dim)
					atLeast := func(what string, got, want []float32, least float64) {
						if q := sqnr(got, want); !(q > least) {
							t.Errorf("%s: %.1f dB, want more than %v", what, q, least)
						}
					}
					atLeast("y", got.y, want.y, least[0])
					atLeast("dx", got.dx, want.dx, least[1])
					for name, dw := range want.dw {
						atLeast("d"+name, got.dw[name], dw, least[2])
					}
				})
			})
		}
	}
}

// TestMixesOfDynamicAndDelayed: each of input, weight and grad_output has a scale of either
// kind; of data that stays as it was, the third step is within a dB of that of dynamic
// scales, and above the bounds of tensor-wise ones.
func TestMixesOfDynamicAndDelayed(t *testing.T) {
	values, x, dy := ffnInputs()
	want := passOf(t, "", dtype.Float32, buildFFN(), values, x, dy, dim)
	before := [][2][]float32{{normal(tokens*dim, 1, 30), normal(tokens*dim, 1, 31)}, {normal(tokens*dim, 1, 32), normal(tokens*dim, 1, 33)}}
	var dynamic map[string]float64
	for mix := range 8 {
		cfg := fp8.DefaultConfig()
		for bit, c := range []*fp8.CastConfig{&cfg.CastConfigInput, &cfg.CastConfigWeight, &cfg.CastConfigGradOutput} {
			if mix>>bit&1 == 1 {
				c.ScalingType = fp8.Delayed
			}
		}
		cfg.EnableFsdpFloat8AllGather = mix%3 == 0
		m, err := fp8.ConvertToFloat8Training(buildFFN(), cfg, fp8.FilterFQNs())
		if err != nil {
			t.Fatal(err)
		}
		got := passOf(t, "", dtype.BFloat16, m, values, x, dy, dim, before...)
		dB := map[string]float64{"y": sqnr(got.y, want.y), "dx": sqnr(got.dx, want.dx)}
		for name, dw := range want.dw {
			dB["d"+name] = sqnr(got.dw[name], dw)
		}
		if mix == 0 {
			dynamic = dB
		}
		t.Logf("mix %03b: %v", mix, dB)
		for name, q := range dB {
			least := 19.5
			if name == "y" {
				least = 22
			}
			if !(q > least && q > dynamic[name]-1) {
				t.Errorf("mix %03b: %s: %.1f dB, want more than %v, and than %.1f - 1", mix, name, q, least, dynamic[name])
			}
		}
	}
}
