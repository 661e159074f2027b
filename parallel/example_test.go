// SPDX-License-Identifier: Apache-2.0

package parallel_test

import (
	"fmt"
	"iter"
	"sync"

	"octet/backend"
	"octet/comm"
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
		c.Stream.SwiGLUGrad(left, right, y.Grad().Tensor, x.Value.Tensor, x.Value.Tensor)
		dx, _ := x.GradTarget(c) // x has no other use
		c.Stream.Add(dx, left, right)
		c.Pool.Free(left)
		c.Pool.Free(right)
	}, x.Shape()...)
	c.Stream.SwiGLU(y.Value.Tensor, x.Keep(), x.Value.Tensor)
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
// float8 on two ranks that shard it and gather its weights as float8: it learns
// to count modulo 16.
func Example() {
	list, err := backend.Local(2, backend.Options{})
	if err != nil {
		panic(err)
	}
	losses := make([]float32, 2)
	var wg sync.WaitGroup
	for _, r := range list {
		wg.Go(func() {
			if losses[0], losses[1], err = count(r); err != nil {
				r.World.Abort(err)
			}
		})
	}
	wg.Wait()
	fmt.Println("loss below 0.1:", losses[1] < 0.1, "from above 2.5:", losses[0] > 2.5)
	// Output: loss below 0.1: true from above 2.5: true
}

func count(r *backend.Rank) (first, last float32, err error) {
	linear := func(in, out int) nn.Module { return nn.NewLinear(in, out, nn.LinearOptions{Init: nn.Normal(0.1)}) }
	var model nn.Module = &nn.Sequential{
		Names:   []string{"embed", "block", "output"},
		Modules: []nn.Module{nn.NewEmbedding(16, 32, nn.Normal(1)), &block{up: linear(32, 64), down: linear(64, 32)}, linear(32, 16)},
	}
	nn.AssignNames(model)
	cfg := fp8.DefaultConfig()
	cfg.EnableFsdpFloat8AllGather = true
	plan := parallel.Plan{
		Float8: &parallel.Float8{Config: cfg, Skip: []string{"output"}},
		Units:  []string{"block"},
		FSDP:   fsdp.Options{Param: dtype.BFloat16},
	}
	if err := plan.Convert(&model); err != nil {
		return 0, 0, err
	}
	sharded, err := plan.Shard(&model, r.World)
	if err != nil {
		return 0, 0, err
	}
	if err := sharded.Allocate(r.Device); err != nil {
		return 0, 0, err
	}
	s, pool := r.Device.NewStream("compute"), device.NewPool(r.Device)
	c := &nn.Ctx{Stream: s, Pool: pool, Tape: &nn.Tape{}, Act: dtype.BFloat16}
	for _, p := range sharded.Params() {
		p.Draw(s, 1)
	}
	adam, err := optim.NewAdam(r.Device, s, sharded.Params(), optim.AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
	if err != nil {
		return 0, 0, err
	}
	ids, next := make([]int32, 16), make([]int32, 16)
	for i := range ids {
		ids[i], next[i] = int32(i), int32(i+1)%16
	}
	in, targets := pool.New(dtype.Int32, 1, 16), pool.New(dtype.Int32, 1, 16)
	loss, scale := pool.New(dtype.Float32, 1), pool.New(dtype.Float32, 1)
	s.Upload(in, device.Int32Bytes(ids))
	s.Upload(targets, device.Int32Bytes(next))
	s.Upload(scale, device.Float32Bytes([]float32{1.0 / 32}))
	scales := fp8.ScalesOf(model)
	for step := range 60 {
		sharded.BeforeGathers(c, scales.PrecomputeFloat8DynamicScaleForFSDP)
		sharded.BeginForward(c)
		s.Zero(loss)
		nn.CrossEntropy(c, loss, model.Forward(c, nn.Input(in)), targets, scale)
		c.Tape.Backward()
		sharded.Finish(c)
		adam.Step(s, nil, 1e-2)
		r.World.AllReduce(s, comm.T(loss), comm.Sum)
		var value [1]float32
		s.Download(device.Float32Bytes(value[:]), loss)
		if err := s.Record().Sync(); err != nil {
			return 0, 0, err
		}
		if step == 0 {
			first = value[0]
		}
		last = value[0]
	}
	return first, last, nil
}
