// SPDX-License-Identifier: Apache-2.0

package parallel_test

import (
	"fmt"
	"slices"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/parallel"
	"octet/test/ranks"
)

// TestEveryRankReadsWholeParameters: of 1, 2 and 3 ranks, whose rows do not divide,
// and of which one has none; the masters, not what travels as float8; as they were
// drawn, and after a step.
func TestEveryRankReadsWholeParameters(t *testing.T) {
	linear := func(in, out int) nn.Module {
		return nn.NewLinear(in, out, nn.LinearOptions{Init: nn.Normal(0.3), Bias: true})
	}
	cfg := fp8.DefaultConfig()
	cfg.EnableFsdpFloat8AllGather = true
	plan := parallel.Plan{Float8: &parallel.Float8{Config: cfg, Skip: []string{"down"}, Precompute: true}, Units: []string{"up"}, FSDP: fsdp.Options{Param: dtype.BFloat16}}
	for _, n := range []int{1, 2, 3} {
		whole, rows := make([]map[string][]float32, n), make([]map[string][]float32, n) // by rank and name
		ranks.Run(t, n, ranks.Options{}, func(r *ranks.Rank) (err error) {
			u := &user{T: t, rank: r, plan: plan, root: &nn.Sequential{
				Names:   []string{"embed", "up", "norm", "down"},
				Modules: []nn.Module{nn.NewEmbedding(7, 16, nn.Normal(1)), linear(16, 16), nn.NewLayerNorm(16, 1e-5), linear(16, 2)},
			}}
			u.init()
			for _, p := range u.m.Params() {
				want := make([]float32, p.Numel())
				p.Init.Fill(want, 1, p.Name, 0)
				got, err := u.m.FullTensor(p)
				if err != nil {
					return err
				}
				if !slices.Equal(got, want) {
					t.Errorf("rank %d of %d: %s is not as it was drawn", r.World.Rank(), n, p.Name)
				}
			}
			c := u.m.Ctx()
			c.Stream.Upload(u.target, device.Int32Bytes([]int32{0, 1, 1, 0}))
			if _, err := u.step(u.loss).Wait(); err != nil {
				return err
			}
			all, own := map[string][]float32{}, map[string][]float32{}
			for _, p := range u.m.Params() {
				if all[p.Name], err = u.m.FullTensor(p); err != nil {
					return err
				}
				own[p.Name] = make([]float32, p.Local().Numel())
				c.Stream.Download(device.Float32Bytes(own[p.Name]), p.Local())
			}
			whole[r.World.Rank()], rows[r.World.Rank()] = all, own
			return u.m.Sync()
		})
		for name, want := range rows[0] {
			for _, more := range rows[1:] {
				want = append(want, more[name]...)
			}
			for rank, all := range whole {
				if !slices.Equal(all[name], want) {
					t.Errorf("rank %d of %d: %s is %v\nafter a step, the ranks' rows are %v", rank, n, name, all[name], want)
				}
			}
		}
	}
}

// TestAWholeParameterIsReadAfterWhatWasEnqueued: the gathers' stream does not run ahead
// of the one that writes.
func TestAWholeParameterIsReadAfterWhatWasEnqueued(t *testing.T) {
	ranks.Run(t, 2, ranks.Options{}, func(r *ranks.Rank) error {
		u := &user{T: t, rank: r, plan: parallel.Plan{FSDP: fsdp.Options{Param: dtype.Float32}}, root: nn.NewLinear(2, 2, nn.LinearOptions{Init: nn.Normal(1)})}
		u.init()
		c, p := u.m.Ctx(), u.m.Params()[0]
		big := c.Pool.New(dtype.Float32, 1<<22)
		for range 16 { // work that takes long
			c.Stream.Zero(big)
		}
		p.Set(c.Stream, []float32{float32(r.World.Rank()), 7})
		got, err := u.m.FullTensor(p)
		if err == nil && !slices.Equal(got, []float32{0, 7, 1, 7}) {
			err = fmt.Errorf("%v, want what was written", got)
		}
		return err
	})
}
