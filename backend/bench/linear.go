// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"

	"octet/backend"
	"octet/dtype"
	"octet/fp8"
	"octet/nn"
	"octet/tensor"
)

// Config is a float8 configuration under the name by which a table has it.
type Config struct {
	Name string
	fp8.Float8LinearConfig
}

// Configs are those of the named recipes; of no names, of all recipes there are.
func Configs(names ...fp8.RecipeName) (all []Config, err error) {
	if len(names) == 0 {
		names = fp8.RecipeNames()
	}
	for _, name := range names {
		c, err := fp8.ConfigFromRecipe(name)
		if err != nil {
			return nil, err
		}
		if _, err := c.Recipe(); err != nil {
			return nil, fmt.Errorf("recipe %s: %w", name, err)
		}
		all = append(all, Config{string(name), c})
	}
	return all, nil
}

// LinearOptions are a run of Linear.
type LinearOptions struct {
	Device    backend.Options
	Shapes    []Shape
	Configs   []Config
	FastAccum []bool // of Y = X·Wᵀ, each in turn
	Effort    Effort
}

// Linear measures forward and backward of one nn.Linear of each shape in each
// configuration, with its casts, beside the same in bf16: torchao's
// bench_linear_float8, with its columns.
func Linear(ctx context.Context, out Output, o LinearOptions) error {
	top, err := peaksOf(o.Device)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	fmt.Fprintf(out.Text, "forward and backward of a Linear; %v\n", o.Effort)
	rows, err := out.table(len(o.Shapes)*len(o.Configs)*len(o.FastAccum),
		column{"name", 18}, column{"M", 0}, column{"K", 0}, column{"N", 0}, column{"scaling_repr", 46}, column{"ref_dtype", 0}, column{"compiled", 8},
		column{"use_fast_accum", 14}, column{"ref_time_sec", 12}, column{"pt_fp8_time_sec", 15}, column{"ref_tops_sec", 0}, column{"ref_pct_top_peak", 0},
		column{"pt_fp8_tops_sec", 0}, column{"pt_fp8_pct_top_peak", 0}, column{"pt_fp8_speedup", 14}, column{"shape", 18}, column{"recipe", 18})
	if err != nil {
		return err
	}
	for _, shape := range o.Shapes {
		if err := onRig(ctx, o.Device, func(r *rig) error { return r.linear(ctx, rows, o, shape, top) }); err != nil {
			return fmt.Errorf("bench: %v: %w", shape, err)
		}
	}
	return nil
}

// linear writes the rows of one shape; all its configurations take turns with bf16.
func (r *rig) linear(ctx context.Context, rows *table, o LinearOptions, shape Shape, top peaks) error {
	ref, err := r.trained(shape, nil)
	if err != nil {
		return err
	}
	runs, recipes := []func(){ref}, []fp8.Recipe{{}}
	for _, c := range o.Configs {
		for _, fast := range o.FastAccum {
			c.GemmConfigOutput.UseFastAccum = fast
			recipe, err := c.Recipe()
			if err != nil {
				return err
			}
			run, err := r.trained(shape, &c.Float8LinearConfig)
			if err != nil {
				return err
			}
			runs, recipes = append(runs, run), append(recipes, recipe)
		}
	}
	times, err := o.Effort.inTurns(ctx, r.s, runs...)
	if err != nil {
		return err
	}
	ops := 3 * shape.flops()
	for i, c := range o.Configs {
		for j, fast := range o.FastAccum {
			at := 1 + i*len(o.FastAccum) + j
			bf16, float8 := times[0], times[at]
			if err := rows.row(shape.Name, shape.M, shape.K, shape.N, recipes[at], dtype.BFloat16, false, fast, bf16, float8,
				ops/bf16, ops/bf16/top.bf16, ops/float8, ops/float8/top.float8, bf16/float8, shape, c.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// trained makes a Linear with a bf16 weight, converted unless c is nil, and returns what
// runs it forward and backward once.
func (r *rig) trained(shape Shape, c *fp8.Float8LinearConfig) (func(), error) {
	l := nn.NewLinear(shape.K, shape.N, nn.LinearOptions{})
	if c != nil {
		if _, err := fp8.ConvertToFloat8Training(l, *c, fp8.FilterFQNs()); err != nil {
			return nil, err
		}
	}
	nn.AssignNames(l)
	ctx := &nn.Ctx{Stream: r.s, Pool: r.pool, Tape: &nn.Tape{}, Act: dtype.BFloat16}
	scales := fp8.ScalesOf(l)
	scales.Allocate(ctx, r.World)
	weight := &nn.Whole{Value: tensor.Operand{Tensor: r.normal(dtype.BFloat16, "w", shape.N, shape.K)}, Grad: r.pool.New(dtype.Float32, shape.N, shape.K)}
	l.Weight.Lend(weight)
	x, dy := r.normal(dtype.BFloat16, "x", shape.M, shape.K), r.normal(dtype.BFloat16, "dy", shape.M, shape.N)
	return func() {
		weight.HasGrad = false
		in := nn.Watch(x)
		y := l.Forward(ctx, in)
		g := ctx.New(shape.M, shape.N) // y's own
		r.s.Copy(g, dy)
		y.SetGrad(g)
		ctx.Tape.Backward()
		in.FreeGrad(ctx)
		scales.SyncFloat8AmaxAndScaleHistory(ctx) // of delayed scales, as once a step
	}, nil
}
