// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"time"

	"octet/backend"
	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/internal/rng"
	"octet/nn"
	"octet/optim"
	"octet/parallel"
)

// MultiOptions are a run of Multi. torchao's has 20 layers of 1024, a batch of 32, and 50
// steps before and 50 that count.
type MultiOptions struct {
	Device      backend.Options
	Ranks       int // goroutines of this process
	Config      fp8.Float8LinearConfig
	Layers, Dim int
	Batch       int // rows of each rank
	Warmup      int
	Steps       int
}

// Multi measures a step of layers of Linear and ReLU that are sharded over ranks, in
// bf16 and in float8, in turns: torchao's bench_multi_gpu, but for its optimizer, which
// is AdamW here. The times are of the median step.
func Multi(ctx context.Context, out Output, o MultiOptions) error {
	fmt.Fprintf(out.Text, "%d layers of %d on %d ranks, batch %d; median of %d steps, after %d\n", o.Layers, o.Dim, o.Ranks, o.Batch, o.Steps, o.Warmup)
	rows, err := out.table(1, column{"ref_time", 12}, column{"float8_time", 12}, column{"float8 speedup", 14})
	if err != nil {
		return err
	}
	return backend.Run(ctx, o.Ranks, o.Device, func(r *backend.Rank) error {
		var steps [2]func() error
		for i, float8 := range []*parallel.Float8{nil, {Config: o.Config, Precompute: o.Config.EnableFsdpFloat8AllGather}} {
			step, err := o.model(r, float8)
			if err != nil {
				return err
			}
			steps[i] = step
		}
		var took [2][]float64
		for n := range o.Warmup + o.Steps {
			for i, step := range steps {
				start := time.Now()
				if err := step(); err != nil {
					return err
				}
				if n >= o.Warmup {
					took[i] = append(took[i], time.Since(start).Seconds())
				}
			}
		}
		if r.Rank != 0 {
			return nil
		}
		ref, float8 := median(took[0]), median(took[1])
		return rows.row(ref, float8, ref/float8)
	})
}

// model makes a rank's part of a model, and returns what trains it one step.
func (o MultiOptions) model(r *backend.Rank, float8 *parallel.Float8) (step func() error, err error) {
	layers := &nn.Sequential{}
	for i := range o.Layers {
		layers.Names = append(layers.Names, fmt.Sprint("linear", i), fmt.Sprint("relu", i))
		layers.Modules = append(layers.Modules, nn.NewLinear(o.Dim, o.Dim, nn.LinearOptions{Init: nn.Normal(0.03)}), nn.NewReLU())
	}
	var root nn.Module = layers
	p := parallel.Plan{Float8: float8, FSDP: fsdp.Options{Param: dtype.BFloat16}}
	for i := range o.Layers {
		p.Units = append(p.Units, layers.Names[2*i])
	}
	if err := p.Convert(&root); err != nil {
		return nil, err
	}
	m, err := p.Shard(root, r.World, r.Device)
	if err != nil {
		return nil, err
	}
	if err := m.Init(0); err != nil {
		return nil, err
	}
	c := m.Ctx()
	adam, err := optim.NewAdam(r.Device, c.Stream, m.Params(), optim.AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
	if err != nil {
		return nil, err
	}
	values := make([]float32, o.Batch*o.Dim)
	rng.New(uint64(r.Rank), "x").Normal(values, 0, 0, 1)
	x, target := c.Pool.New(dtype.BFloat16, o.Batch, o.Dim), c.Pool.New(dtype.Float32, o.Batch, o.Dim)
	c.Stream.Upload(target, device.Float32Bytes(values))
	c.Stream.Copy(x, target)
	return func() error {
		_, err := m.Step(parallel.StepOptions{Optimizer: adam, LR: 1e-4, Count: len(values)}, func(c *nn.Ctx, _ int) {
			nn.MeanSquaredError(c, m.Forward(c, nn.Input(x)), target)
		}).Wait()
		return err
	}, nil
}
