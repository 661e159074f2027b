// SPDX-License-Identifier: Apache-2.0

package parallel_test

import (
	"iter"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/nn/nntest"
	"octet/optim"
	"octet/parallel"
	"octet/tensor"
	"octet/test/ranks"
)

// castCounter is a device that looks at the dynamic casts of the compute stream, by format: how many begin
// with a read of their own, and how many are given an amax, which it reads for itself.
type castCounter struct {
	t testing.TB
	device.Device
	read, given map[dtype.Type]int
	amaxes      [][2][]float32 // given, and read
}

func (d *castCounter) NewStream(name string) device.Stream {
	s := d.Device.NewStream(name)
	if name != "compute" {
		return s
	}
	host, ok := s.(device.HostStream)
	if !ok {
		d.t.Skip("a device of its own, whose communicators want its own streams")
	}
	return &countedStream{host, d, device.NewPool(d.Device)}
}

type countedStream struct {
	device.HostStream
	dev  *castCounter
	pool *device.Pool
}

func (s *countedStream) DynamicCast(dst, dstT, src tensor.Operand, pow2 bool) {
	to := dst
	if to.Tensor == nil {
		to = dstT
	}
	if src.Amax == nil {
		s.dev.read[to.Type]++
	} else {
		s.dev.given[to.Type]++
		amax, both := s.pool.New(dtype.Float32), [2][]float32{{0}, {0}}
		s.Amax(amax, []*tensor.Tensor{src.Tensor})
		s.Download(device.Float32Bytes(both[0]), src.Amax)
		s.Download(device.Float32Bytes(both[1]), amax)
		s.pool.Free(amax)
		s.dev.amaxes = append(s.dev.amaxes, both)
	}
	s.HostStream.DynamicCast(dst, dstT, src, pow2)
}

// TestCastsAreGivenTheAmaxesOfWhatIsMade: none of a block's dynamic casts reads its source for its amax, but
// that of an attention's output which a first pass has kept; what they are given is that of what they cast, through
// recomputation and microbatches. Nothing is given to casts by rows or by delayed scales.
func TestCastsAreGivenTheAmaxesOfWhatIsMade(t *testing.T) {
	const layers, microbatches = 2, 2
	for _, tt := range []struct {
		name                     string
		recipe                   fp8.RecipeName
		recompute                *parallel.Recompute
		float8TN                 bool
		inRead, inGiven          int // of a layer, in a microbatch
		gradientRead, gradsGiven int
		change                   func(*fp8.Float8LinearConfig)
	}{
		{"tensor-wise", fp8.RecipeTensorwise, nil, false, 0, 4, 0, 7, nil},
		{"one layout", fp8.RecipeTensorwise, nil, true, 0, 4, 0, 7, nil},
		{"recomputed", fp8.RecipeTensorwise, &parallel.Recompute{Modules: []string{"layers.*"}}, false, 0, 8, 0, 7, nil},
		{"but for what costs much", fp8.RecipeTensorwise, &parallel.Recompute{Modules: []string{"layers.*"}, Keep: nn.KeepCostly}, false, 1, 7, 0, 7, nil},
		{"delayed", fp8.RecipeDelayed, nil, false, 0, 0, 0, 0, nil},
		{"by rows", fp8.RecipeRowwise, nil, false, 2 * (4 + 7), 0, 0, 0, nil}, // all e4m3
		{"values kept for grad_weight", fp8.RecipeTensorwise, nil, false, 0, 4, 0, 7, func(c *fp8.Float8LinearConfig) {
			off := fp8.CastConfig{ScalingType: fp8.Disabled, ScalingGranularity: fp8.Tensorwise}
			c.CastConfigInputForGradWeight, c.CastConfigGradOutputForGradWeight = off, off
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := fp8.ConfigFromRecipe(tt.recipe)
			if err != nil {
				t.Fatal(err)
			}
			cfg.EnableFsdpFloat8AllGather = true
			if tt.change != nil {
				tt.change(&cfg)
			}
			p := parallel.Plan{Float8: &parallel.Float8{Config: cfg, Skip: []string{"output"}, Precompute: true}, Recompute: tt.recompute,
				Units: []string{"tok_embeddings", "layers.*", "norm+output"}, FSDP: fsdp.Options{Param: dtype.BFloat16}}
			r := ranks.Open(t, 1, ranks.Options{Float8TN: tt.float8TN})[0]
			dev := &castCounter{t: t, Device: r.Device, read: map[dtype.Type]int{}, given: map[dtype.Type]int{}}
			root := model()
			if err := p.Convert(&root); err != nil {
				t.Fatal(err)
			}
			m, err := p.Shard(root, r.World, dev)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Init(1); err != nil {
				t.Fatal(err)
			}
			adam, err := optim.NewAdam(dev, m.Ctx().Stream, m.Params(), optim.AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
			if err != nil {
				t.Fatal(err)
			}
			ids := m.Ctx().Pool.Lasting().New(dtype.Int32, 2, 8)
			step := func() error {
				_, err := m.Step(parallel.StepOptions{Optimizer: adam, LR: 1e-3, Count: 16 * microbatches, Microbatches: microbatches}, func(c *nn.Ctx, i int) {
					c.Stream.Upload(ids, device.Int32Bytes([]int32{1, 2, 3, 4, 5, 6, 7, int32(i), 9, 8, 7, 6, 5, 4, 3, 2}))
					nn.CrossEntropy(c, m.Forward(c, nn.Input(ids)), ids)
				}).Wait()
				return err
			}
			if err := step(); err != nil {
				t.Fatal(err)
			}
			of := func(n int) int { return n * layers * microbatches }
			e4m3, e5m2 := dtype.Float8E4M3, dtype.Float8E5M2
			if dev.read[e4m3] != of(tt.inRead) || dev.given[e4m3] != of(tt.inGiven) || dev.read[e5m2] != of(tt.gradientRead) || dev.given[e5m2] != of(tt.gradsGiven) {
				t.Errorf("read %v, given %v; want %d and %d of inputs, %d and %d of gradients", dev.read, dev.given, of(tt.inRead), of(tt.inGiven), of(tt.gradientRead), of(tt.gradsGiven))
			}
			for i, both := range dev.amaxes {
				if both[0][0] != both[1][0] || both[0][0] == 0 {
					t.Errorf("cast %d: given an amax of %v, which is %v", i, both[0][0], both[1][0])
				}
			}
			if live := m.Ctx().Pool.Live(); step() != nil || m.Ctx().Pool.Live() != live {
				t.Errorf("%d bytes are taken before a step, %d after it", live, m.Ctx().Pool.Live())
			}
		})
	}
}

// late is a value whose gradient gets a term behind the norm that makes its amax: y + norm(y).
type late struct {
	nn.NoParams
	norm, linear nn.Module
}

func (l *late) Children() iter.Seq2[string, *nn.Module] {
	return nn.Slots(nn.Slot{Name: "linear", At: &l.linear}, nn.Slot{Name: "norm", At: &l.norm})
}

func (l *late) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	y := l.linear.Forward(c, x)
	twice := nn.Add(c, y, y)
	return nn.Add(c, twice, l.norm.Forward(c, y))
}

// TestAGradientThatIsAddedToHasItsAmaxReadAgain: what a norm took was of less.
func TestAGradientThatIsAddedToHasItsAmaxReadAgain(t *testing.T) {
	dev := &castCounter{t: t, Device: ranks.Device(t, ranks.Options{}), read: map[dtype.Type]int{}, given: map[dtype.Type]int{}}
	rig := nntest.New(t, dev, dtype.BFloat16)
	rig.Ctx.Stream = dev.NewStream("compute")
	m, err := fp8.ConvertToFloat8Training(&late{linear: nn.NewLinear(16, 32, nn.LinearOptions{Init: nn.Normal(1)}), norm: nn.NewRMSNorm(32, 1e-5)}, fp8.DefaultConfig(), fp8.FilterFQNs())
	if err != nil {
		t.Fatal(err)
	}
	nn.AssignNames(m)
	rig.Load(m, func(p *nn.Param) []float32 {
		values := make([]float32, p.Numel())
		p.Init.Fill(values, 1, p.Name, 0)
		return values
	})
	rig.Pass(m, nn.Input(rig.As(dtype.BFloat16, rig.Normal(8*16, 1), 8, 16)), rig.Normal(8*32, 2))
	if dev.read[dtype.Float8E5M2] != 1 || dev.given[dtype.Float8E5M2] != 0 {
		t.Errorf("of the gradient %d casts read for an amax, %d were given one; want 1 and 0", dev.read[dtype.Float8E5M2], dev.given[dtype.Float8E5M2])
	}
}
