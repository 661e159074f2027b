// SPDX-License-Identifier: Apache-2.0

package multigpu

import (
	"fmt"
	"iter"
	"slices"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/optim"
	"octet/parallel"
	"octet/test/ranks"
)

// TestStepsInFlight: twice two steps of two microbatches each, of which the second leaves a unit out, and both another and a part of a third, and whole parameters
// behind them, enqueued without a wait of the host in between, which would put in order what streams leave unordered. The first two make what all need, and for that
// the host does wait (cuda.Device.Alloc). Simulated GPUs find what is, and the losses and weights are those of the CPU, which runs each stream on a thread.
func TestStepsInFlight(t *testing.T) {
	for _, tt := range []struct {
		name string
		flight
	}{
		{"bf16", flight{reshard: fsdp.ReshardAlways}}, {"float8", flight{float8: true}}, {"kept", flight{reshard: fsdp.ReshardNever}},
		{"replicas", flight{replicas: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(ranks.DeviceVar, "")
			want := tt.values(t)
			t.Setenv(ranks.DeviceVar, ranks.Sim)
			ranks.Simulated(t)
			got := tt.values(t)
			for i, x := range want {
				if off := got[i] - x; !(off*off <= 1e-4) {
					t.Errorf("value %d of losses and weights is %v, on the CPU %v", i, got[i], x)
				}
			}
		})
	}
}

// sometimes is a module that a microbatch may leave out, although its weights were gathered ahead.
type sometimes struct {
	nn.NoParams
	inner nn.Module
	skip  *bool
}

func (s *sometimes) Children() iter.Seq2[string, *nn.Module] {
	return nn.Slots(nn.Slot{Name: "inner", At: &s.inner})
}

func (s *sometimes) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	if *s.skip {
		return x
	}
	return s.inner.Forward(c, x)
}

// partly is a module with a part that no microbatch uses.
type partly struct {
	nn.NoParams
	inner, idle nn.Module
}

func (p *partly) Children() iter.Seq2[string, *nn.Module] {
	return nn.Slots(nn.Slot{Name: "inner", At: &p.inner}, nn.Slot{Name: "idle", At: &p.idle})
}

func (p *partly) Forward(c *nn.Ctx, x *nn.Var) *nn.Var { return p.inner.Forward(c, x) }

// several is a module whose values and weights have several readers: their gradients are sums.
type several struct {
	nn.NoParams
	norm, activation nn.Module
}

func (s *several) Children() iter.Seq2[string, *nn.Module] {
	return nn.Slots(nn.Slot{Name: "norm", At: &s.norm}, nn.Slot{Name: "activation", At: &s.activation})
}

func (s *several) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	h := s.norm.Forward(c, x)
	twice := nn.Add(c, s.activation.Forward(c, h), s.activation.Forward(c, h))
	return nn.Add(c, x, s.norm.Forward(c, twice))
}

// flight is how the steps are sharded, over two ranks or over two for each replica.
type flight struct {
	float8   bool
	reshard  fsdp.Reshard
	replicas int // 0 is one
}

// values returns the losses and what the first parameter becomes.
func (f flight) values(t *testing.T) (values []float64) {
	t.Helper()
	ranks.Run(t, 2*max(1, f.replicas), ranks.Options{}, func(r *ranks.Rank) error {
		v, err := f.twoSteps(r)
		if r.Rank == 0 {
			values = v
		}
		return err
	})
	if t.Failed() {
		t.FailNow()
	}
	return values
}

func (f flight) twoSteps(r *ranks.Rank) (values []float64, err error) {
	linear := func(in, out int) nn.Module { return nn.NewLinear(in, out, nn.LinearOptions{Init: nn.Normal(0.1)}) }
	skip, never := false, true
	frozen := nn.NewRMSNorm(32, 1e-5)
	frozen.Weight.Freeze()
	var model nn.Module = &nn.Sequential{
		Names: []string{"embed", "a", "b", "c", "d", "frozen", "output"},
		Modules: []nn.Module{
			nn.NewEmbedding(16, 32, nn.Normal(1)), &partly{inner: linear(32, 32), idle: linear(32, 32)},
			&sometimes{inner: linear(32, 32), skip: &skip}, &sometimes{inner: linear(32, 32), skip: &never},
			&several{norm: nn.NewLayerNorm(32, 1e-5), activation: nn.NewGELU()}, frozen, linear(32, 16),
		},
	}
	plan := parallel.Plan{Units: []string{"a", "b.inner", "c.inner"}, FSDP: fsdp.Options{Param: dtype.BFloat16, Reshard: f.reshard}, Degrees: parallel.Degrees{Replicate: f.replicas}}
	if f.float8 {
		cfg := fp8.DefaultConfig()
		cfg.EnableFsdpFloat8AllGather = true
		plan.Float8 = &parallel.Float8{Config: cfg, Skip: []string{"output"}, Precompute: true}
	}
	if err := plan.Convert(&model); err != nil {
		return nil, err
	}
	m, err := plan.Shard(model, r.World, r.Device)
	if err != nil {
		return nil, err
	}
	if err := m.Init(1); err != nil {
		return nil, err
	}
	c := m.Ctx()
	adam, err := optim.NewAdam(r.Device, c.Stream, m.Params(), optim.AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
	if err != nil {
		return nil, err
	}
	in, next := c.Pool.New(dtype.Int32, 1, 16), c.Pool.New(dtype.Int32, 1, 16)
	ids := make([]int32, 17)
	for i := range ids {
		ids[i] = int32((i + r.Rank) % 16)
	}
	c.Stream.Upload(in, device.Int32Bytes(slices.Clone(ids[:16])))
	c.Stream.Upload(next, device.Int32Bytes(slices.Clone(ids[1:])))
	for range 2 {
		var pending []*parallel.Pending
		for range 2 {
			pending = append(pending, m.Step(parallel.StepOptions{Optimizer: adam, LR: 1e-2, Count: 32, MaxNorm: 1, Microbatches: 2}, func(c *nn.Ctx, i int) {
				skip = i == 1
				nn.CrossEntropy(c, m.Forward(c, nn.Input(in)), next)
			}))
		}
		whole, err := m.FullTensor(m.Params()[0])
		if err != nil {
			return nil, err
		}
		for i, p := range pending {
			done, err := p.Wait()
			if err != nil {
				return nil, fmt.Errorf("step %d: %w", i+1, err)
			}
			values = append(values, done.Loss)
		}
		for _, w := range whole {
			values = append(values, float64(w))
		}
	}
	return values, nil
}
