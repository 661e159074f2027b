// SPDX-License-Identifier: Apache-2.0

package parallel_test

import (
	"context"
	"fmt"

	"octet/backend"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/fsdp"
	"octet/nn"
	"octet/optim"
	"octet/parallel"
	"octet/tensor"
	"octet/tp"
)

// ranksThatShareLayers is how two ranks share each layer of a model of one's own, and its tokens between the layers.
func ranksThatShareLayers() parallel.Plan {
	all, rows := dtensor.Replicate(), dtensor.Shard(0)
	return parallel.Plan{
		Degrees: parallel.Degrees{Tensor: 2},
		Tensor: tp.Plan{
			tp.For("embed", tp.RowwiseParallel(tp.InputLayouts(all), tp.OutputLayouts(rows))),
			tp.For("norm", tp.SequenceParallel()),
			tp.For("up", tp.ColwiseParallel(tp.InputLayouts(rows))),
			tp.For("down", tp.RowwiseParallel(tp.OutputLayouts(rows))),
			tp.For("output", tp.ColwiseParallel(tp.InputLayouts(rows))),
		},
		FSDP: fsdp.Options{Param: dtype.Float32},
	}
}

// A model of one's own learns to count modulo 17 on four ranks: pairs share its layers, and both pairs its weights. No sizes need divide but
// that of the tokens; what would not work is an error before any rank starts.
func Example_tensor() {
	plan := ranksThatShareLayers()
	if err := plan.Check(counter(), tensor.Spec{Type: dtype.Int32, Shape: []int{1, 18}}); err != nil {
		panic(err)
	}
	fmt.Println(plan.Check(counter(), tensor.Spec{Type: dtype.Int32, Shape: []int{1, 17}}))

	losses := make([]float64, 4)
	if err := backend.Run(context.Background(), 4, backend.Options{}, func(r *backend.Rank) error {
		m, err := plan.Shard(counter(), r.World, r.Device)
		if err != nil {
			return err
		}
		if err := m.Init(1); err != nil {
			return err
		}
		c := m.Ctx()
		adam, err := optim.NewAdam(r.Device, c.Stream, m.Params(), optim.AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
		if err != nil {
			return err
		}
		ids, targets := make([]int32, 18), make([]int32, 18)
		for i := range ids {
			ids[i], targets[i] = int32(i%17), int32((i+1)%17)
		}
		in, next := c.Pool.New(dtype.Int32, 1, 18), c.Pool.New(dtype.Int32, 1, 18)
		c.Stream.Upload(in, device.Int32Bytes(ids))
		c.Stream.Upload(next, device.Int32Bytes(targets))
		for range 60 {
			result, err := m.Step(parallel.StepOptions{Optimizer: adam, LR: 1e-2, Count: 18}, func(c *nn.Ctx, _ int) {
				nn.CrossEntropy(c, m.Forward(c, nn.Input(in)), next)
			}).Wait()
			if err != nil {
				return err
			}
			losses[r.World.Rank()] = result.Loss
		}
		return nil
	}); err != nil {
		panic(err)
	}
	fmt.Println("loss below 0.1:", losses[0] < 0.1, "alike on all ranks:", losses[0] == losses[3])
	// Output:
	// tp: 17 tokens [1 17] do not divide among 2 ranks, each of which has rows of them: use a degree of [1 17], or another batch or length
	// loss below 0.1: true alike on all ranks: true
}

// counter is the model.
func counter() nn.Module {
	linear := func(in, out int) nn.Module {
		return nn.NewLinear(in, out, nn.LinearOptions{Init: nn.Normal(0.1), Bias: true})
	}
	return &nn.Sequential{
		Names:   []string{"embed", "norm", "up", "gelu", "down", "output"},
		Modules: []nn.Module{nn.NewEmbedding(17, 32, nn.Normal(1)), nn.NewRMSNorm(32, 1e-5), linear(32, 65), nn.NewGELU(), linear(65, 32), linear(32, 17)},
	}
}
