// SPDX-License-Identifier: Apache-2.0

package fp8_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/optim"
	"octet/parallel"
	"octet/tensor"
	"octet/test/ranks"
)

const pairDim, pairRows = 32, 64

// watchPair trains two Linears, one after the other, one step on n ranks and returns what a Watch saw of it, by
// layer and role: each rank's x may be changed, and the weights on the device.
func watchPair(t *testing.T, n int, cfg fp8.Float8LinearConfig, x func(rank int, x []float32), weights func(s device.Stream, params []*nn.Param)) map[string]fp8.CastStats {
	t.Helper()
	seen := map[string]fp8.CastStats{}
	ranks.Run(t, n, ranks.Options{}, func(r *ranks.Rank) error {
		linear := func() nn.Module { return nn.NewLinear(pairDim, pairDim, nn.LinearOptions{Init: nn.Normal(0.2)}) }
		var root nn.Module = &nn.Sequential{Names: []string{"first", "second"}, Modules: []nn.Module{linear(), linear()}}
		p := parallel.Plan{Float8: &parallel.Float8{Config: cfg, Precompute: cfg.EnableFsdpFloat8AllGather}, Units: []string{"first", "second"}, FSDP: fsdp.Options{Param: dtype.BFloat16}}
		if err := p.Convert(&root); err != nil {
			return err
		}
		m, err := p.Shard(root, r.World, r.Device)
		if err != nil {
			return err
		}
		if err := m.Init(3); err != nil {
			return err
		}
		c := m.Ctx()
		weights(c.Stream, m.Params())
		adam, err := optim.NewAdam(r.Device, c.Stream, m.Params(), optim.AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
		if err != nil {
			return err
		}
		draw := rand.New(rand.NewPCG(5, uint64(r.Rank)))
		values := make([]float32, pairRows*pairDim)
		for i := range values {
			values[i] = float32(draw.NormFloat64())
		}
		x(r.Rank, values)
		wide, in, target := c.Pool.New(dtype.Float32, pairRows, pairDim), c.Pool.New(dtype.BFloat16, pairRows, pairDim), c.Pool.New(dtype.Float32, pairRows, pairDim)
		c.Stream.Upload(wide, device.Float32Bytes(values))
		c.Stream.Copy(in, wide)
		c.Stream.Copy(target, wide)
		step := func() error {
			_, err := m.Step(parallel.StepOptions{Optimizer: adam, Count: len(values), Microbatches: 2}, func(c *nn.Ctx, _ int) {
				nn.MeanSquaredError(c, m.Forward(c, nn.Watch(in)), target)
			}).Wait()
			return err
		}
		w := fp8.NewWatch(m.Root())
		w.Begin(c)
		if err := step(); err != nil {
			return err
		}
		stats, err := w.End(c, r.World)()
		if err != nil {
			return err
		}
		if err := step(); err != nil { // nobody looks
			return err
		}
		if r.Rank == 0 {
			for _, s := range stats {
				seen[fmt.Sprint(s.FQN, " ", s.Role)] = s
			}
		}
		return nil
	})
	return seen
}

func asDrawn(int, []float32)                 {}
func asMade(s device.Stream, ps []*nn.Param) {}

// TestAWatchSeesEveryCast of each recipe, with weights gathered in float8 and not, on one
// rank and two: one figure for each cast that the recipe has.
func TestAWatchSeesEveryCast(t *testing.T) {
	for _, name := range fp8.RecipeNames() {
		for _, gather := range []bool{false, true} {
			for _, n := range []int{1, 2} {
				cfg, err := fp8.ConfigFromRecipe(name)
				if err != nil {
					t.Fatal(err)
				}
				cfg.EnableFsdpFloat8AllGather = gather
				recipe, err := cfg.Recipe()
				if err != nil {
					continue // the recipe cannot be gathered so
				}
				t.Run(fmt.Sprintf("%s/gather=%t/ranks=%d", name, gather, n), func(t *testing.T) {
					seen := watchPair(t, n, cfg, asDrawn, asMade)
					want := []nn.Role{nn.In, nn.Weight, nn.GradOut}
					for _, role := range []nn.Role{nn.InForGW, nn.WeightForGI, nn.GradOutForGW} {
						first := map[nn.Role]nn.Role{nn.InForGW: nn.In, nn.WeightForGI: nn.Weight, nn.GradOutForGW: nn.GradOut}[role]
						own := recipe.Cast[role].Granularity == fp8.Axiswise || recipe.Cast[role] != recipe.Cast[first] || role == nn.WeightForGI
						if own && recipe.Cast[role].Type != fp8.Disabled && !(gather && role == nn.WeightForGI) {
							want = append(want, role)
						}
					}
					for _, layer := range []string{"first", "second"} {
						for _, role := range want {
							s, ok := seen[layer+" "+role.String()]
							if !ok {
								t.Errorf("%s %v was not seen; %v", layer, role, seen)
								continue
							}
							least := 24.
							if s.Cast.Format == dtype.Float8E5M2 {
								least = 18
							}
							if s.Cast != recipe.Cast[role] || !(s.SQNR > least && s.SQNR < 40) || s.Saturated != 0 || s.Underflowed > 0.01 || !(s.Amax > 0) || !(s.MinScale > 0 && s.MinScale <= s.MaxScale) {
								t.Errorf("%s %v: %+v", layer, role, s)
							}
						}
					}
					if len(seen) != 2*len(want) {
						t.Errorf("%d casts seen, want 2×%v: %v", len(seen), want, seen)
					}
				})
			}
		}
	}
}

// TestAWatchFindsWhatIsPlanted in the layer and the role where it is, though one rank of
// two alone has it.
func TestAWatchFindsWhatIsPlanted(t *testing.T) {
	cfg := fp8.DefaultConfig()
	cfg.EnableFsdpFloat8AllGather = true
	quiet := func(seen map[string]fp8.CastStats, but string) {
		t.Helper()
		for at, s := range seen {
			if at != but && (s.Saturated > 0 || s.Underflowed > 0.02) {
				t.Errorf("planted in %s, seen in %s: %+v", but, at, s)
			}
		}
	}
	t.Run("underflow", func(t *testing.T) {
		// Beside one that is 30000 all of rank 1's others vanish; the loss is of a target
		// that has it too, so gradients are not looked at.
		seen := watchPair(t, 2, cfg, func(rank int, x []float32) {
			if rank == 1 {
				for i := range x {
					x[i] *= 1e-3
				}
				x[7] = 30000
			}
		}, asMade)
		if s := seen["first i"]; math.Abs(s.Underflowed-0.5) > 0.01 || s.Amax != 29952 && s.Amax != 30000 || s.Saturated != 0 || !(s.MinScale < 0.02) || !(s.MaxScale > 50) {
			t.Errorf("first i: %+v; want half of the elements underflowed, and scales of both ranks", s)
		}
	})
	t.Run("saturation", func(t *testing.T) {
		// The second layer's weight grows fourfold behind the back of its scale.
		seen := watchPair(t, 2, cfg, asDrawn, func(s device.Stream, params []*nn.Param) {
			i := slices.IndexFunc(params, func(p *nn.Param) bool { return p.Name == "second.weight" })
			s.Add(params[i].Local(), params[i].Local(), params[i].Local())
			s.Add(params[i].Local(), params[i].Local(), params[i].Local())
		})
		if s := seen["second w"]; !(s.Saturated > 0.1 && s.Saturated < 0.9) || s.Amax*s.MaxScale < 3.9*448 || s.SQNR > 15 {
			t.Errorf("second w: %+v; want much of it saturated", s)
		}
		quiet(seen, "second w")
	})
}

// TestWhatTravelsIsMeasuredOnce, however the scale of the weight is made.
func TestWhatTravelsIsMeasuredOnce(t *testing.T) {
	for _, name := range []fp8.RecipeName{fp8.RecipeTensorwise, fp8.RecipeRowwise, fp8.RecipeDelayed} {
		cfg, err := fp8.ConfigFromRecipe(name)
		if err != nil {
			t.Fatal(err)
		}
		cfg.EnableFsdpFloat8AllGather = true
		m, _, pack := traveler(t, cfg)
		fp8.NewWatch(m.Root()).Begin(m.Ctx())
		for _, eval := range []bool{false, true} {
			count := &measuresCounted{Stream: m.Ctx().Stream}
			if pack(count, eval); count.n != 1 {
				t.Errorf("%s, to be evaluated %v: a weight that is packed is measured %d times", name, eval, count.n)
			}
		}
	}
}

// measuresCounted is a stream that counts what is measured of casts.
type measuresCounted struct {
	device.Stream
	n int
}

func (m *measuresCounted) CastStats(maxima, sums *tensor.Tensor, src, q tensor.Operand) {
	m.n++
	m.Stream.CastStats(maxima, sums, src, q)
}

// TestSQNRIsTheRatioOfNorms, in dB.
func TestSQNRIsTheRatioOfNorms(t *testing.T) {
	for _, tt := range []struct {
		x, y []float32
		want float64
	}{
		{[]float32{3, 4}, []float32{3, 4.05}, 40},
		{[]float32{10, 0}, []float32{10, 1}, 20},
		{[]float32{1, 2}, []float32{0, 0}, 0},
		{[]float32{1, 2}, []float32{1, 2}, math.Inf(1)},
	} {
		if got := fp8.SQNR(tt.x, tt.y); math.Abs(got-tt.want) > 1e-3 && got != tt.want {
			t.Errorf("SQNR of %v as %v is %v dB, want %v", tt.x, tt.y, got, tt.want)
		}
	}
}

func TestStatsCountsZerosAndTheLargest(t *testing.T) {
	dev := ranks.Device(t, ranks.Options{})
	s, pool := dev.NewStream("test"), device.NewPool(dev)
	for _, ty := range []dtype.Type{dtype.Float8E4M3, dtype.Float8E5M2} {
		src, q := pool.New(dtype.Float32, 6), pool.New(ty, 6)
		s.Upload(src, device.Float32Bytes([]float32{0, -1e-9, 1, 1e9, -1e9, float32(math.Copysign(0, -1))}))
		s.Cast(tensor.Operand{Tensor: q}, tensor.Operand{}, tensor.Operand{Tensor: src})
		zeros, largest, err := fp8.Stats(s, tensor.Operand{Tensor: q})
		if zeros != 3 || largest != 2 || err != nil {
			t.Errorf("%v: %d zeros, %d at the largest (%v), want 3 and 2", ty, zeros, largest, err)
		}
	}
}
