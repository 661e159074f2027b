// SPDX-License-Identifier: Apache-2.0

package parallel_test

import (
	"context"
	"fmt"
	"iter"

	"octet/backend"
	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/optim"
	"octet/parallel"
)

// squash is an operation of one's own: y = silu(x)·x.
func squash(c *nn.Ctx, x *nn.Var) *nn.Var {
	y := c.Op(func(y *nn.Var) {
		left, right := c.New(x.Shape()...), c.New(x.Shape()...)
		c.Stream.SwiGLUGrad(left, right, y.Grad().Tensor, x.Value.Tensor, x.Value.Tensor, nil, nil)
		dx, _ := x.GradTarget(c) // x has no other use
		c.Stream.Add(dx, left, right)
		c.Pool.Free(left)
		c.Pool.Free(right)
	}, x.Shape()...)
	c.Stream.SwiGLU(y.Value.Tensor, x.Keep(), x.Value.Tensor, nil)
	return y
}

// block is a module of one's own: x + down(squash(up(x))).
type block struct {
	nn.NoParams
	up, down nn.Module
}

func (b *block) Children() iter.Seq2[string, *nn.Module] {
	return nn.Slots(nn.Slot{Name: "up", At: &b.up}, nn.Slot{Name: "down", At: &b.down})
}

func (b *block) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	return nn.Add(c, x, b.down.Forward(c, squash(c, b.up.Forward(c, x))))
}

// A model of one's own, with a module and an operation of one's own, trains in
// float8 on two ranks that shard it, gather its weights as float8 and recompute the
// block in backward: it learns to count modulo 16.
func Example() {
	losses := make([][]float64, 2)
	if err := backend.Run(context.Background(), 2, backend.Options{}, func(r *backend.Rank) (err error) {
		losses[r.World.Rank()], err = count(r)
		return err
	}); err != nil {
		panic(err)
	}
	first, last := losses[0][0], losses[0][59]
	fmt.Println("loss below 0.1:", last < 0.1, "from above 2.5:", first > 2.5)
	// Output: loss below 0.1: true from above 2.5: true
}

func count(r *backend.Rank) (losses []float64, err error) {
	linear := func(in, out int) nn.Module { return nn.NewLinear(in, out, nn.LinearOptions{Init: nn.Normal(0.1)}) }
	var model nn.Module = &nn.Sequential{
		Names:   []string{"embed", "block", "output"},
		Modules: []nn.Module{nn.NewEmbedding(16, 32, nn.Normal(1)), &block{up: linear(32, 64), down: linear(64, 32)}, linear(32, 16)},
	}
	cfg := fp8.DefaultConfig()
	cfg.EnableFsdpFloat8AllGather = true
	plan := parallel.Plan{
		Float8:    &parallel.Float8{Config: cfg, Skip: []string{"output"}, Precompute: true},
		Recompute: &parallel.Recompute{Modules: []string{"block"}},
		Units:     []string{"block"},
		FSDP:      fsdp.Options{Param: dtype.BFloat16},
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
	c.Stream.Upload(in, device.Int32Bytes([]int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}))
	c.Stream.Upload(next, device.Int32Bytes([]int32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0}))
	for range 60 {
		result, err := m.Step(parallel.StepOptions{Optimizer: adam, LR: 1e-2, Count: 16}, func(c *nn.Ctx, _ int) {
			nn.CrossEntropy(c, m.Forward(c, nn.Input(in)), next)
		}).Wait()
		if err != nil {
			return nil, err
		}
		losses = append(losses, result.Loss)
	}
	return losses, nil
}
