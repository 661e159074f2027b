// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"octet/backend"
	"octet/backend/bench"
	"octet/fp8"
)

// timing declares how long is measured.
func (f *benchFlags) timing() {
	f.DurationVar(&f.effort.Time, "time", f.effort.Time, "time for the repetitions of one measurement; the fastest counts")
	f.count(&f.effort.Repeat, "repeat", f.effort.Repeat, "the most repetitions of one measurement")
}

// onDevice declares the device that is measured.
func (f *benchFlags) onDevice() {
	f.StringVar(&f.device.Device, "device", "cpu", fmt.Sprintf("one of %v", backend.Devices()))
}

// noEffect declares a flag of torchao's that has nothing to act on.
func (f *benchFlags) noEffect(name, why string) {
	f.Bool(name, false, "no effect: "+why)
	f.idle[name] = why
}

// shapes declares which shapes are measured, and returns what lists them.
func (f *benchFlags) shapes(generator bench.Generator) func() ([]bench.Shape, error) {
	s := bench.Selection{}
	name := f.String("shape_gen_name", string(generator), fmt.Sprintf("list of shapes: one of %v", bench.Generators()))
	f.StringVar(&s.Name, "shape_name_filter", "", "measure the shapes alone whose names contain this")
	f.IntVarP(&s.Limit, "n_limit", "n", 0, "measure the first n shapes alone; 0: all")
	f.IntVar(&s.M, "M", 0, "tokens, of custom; of llama, in place of its 16384")
	f.IntVar(&s.K, "K", 0, "in_features, of custom")
	f.IntVar(&s.N, "N", 0, "out_features, of custom")
	return func() ([]bench.Shape, error) {
		s.Generator = bench.Generator(*name)
		return s.Shapes()
	}
}

// recipe declares which recipe is measured.
func (f *benchFlags) recipe(flag string) func() (fp8.RecipeName, fp8.Recipe, error) {
	name := f.String(flag, string(fp8.RecipeTensorwise), fmt.Sprintf("float8 recipe: one of %v", fp8.RecipeNames()))
	return func() (fp8.RecipeName, fp8.Recipe, error) {
		all, err := bench.Configs(fp8.RecipeName(*name))
		if err != nil {
			return "", fp8.Recipe{}, fmt.Errorf("--%s: %w", flag, err)
		}
		recipe, err := all[0].Recipe()
		return fp8.RecipeName(*name), recipe, err
	}
}

func benchMatMul(f *benchFlags) func(context.Context, bench.Output) error {
	f.timing()
	shapes, recipe := f.shapes(bench.DebugModel), f.recipe("recipe")
	f.onDevice()
	tune := f.Bool("tune", false, "time the algorithms that the GPU's library has for each product instead, and keep the fastest for training")
	f.noEffect("use_gpu_kernel_time", "products are timed between two waits for the device, several as one where they are short")
	return func(ctx context.Context, out bench.Output) error {
		o := bench.MatMulOptions{Device: f.device, Effort: f.effort}
		var err error
		if o.Shapes, err = shapes(); err != nil {
			return err
		}
		if _, o.Recipe, err = recipe(); err != nil {
			return err
		}
		if *tune {
			return bench.Tune(ctx, out, o)
		}
		return bench.MatMul(ctx, out, o)
	}
}

func benchLinear(f *benchFlags) func(context.Context, bench.Output) error {
	f.timing()
	shapes := f.shapes(bench.Llama)
	names := f.StringSlice("recipe", nil, "float8 recipes, separated by commas (default: all)")
	casts := [...]*string{
		f.String("scaling_type_input", "", "dynamic, delayed or disabled; with any of these flags a configuration of its own takes the recipes' place"),
		f.String("scaling_type_weight", "", "likewise"),
		f.String("scaling_type_grad_output", "", "likewise"),
	}
	granularity := f.String("scaling_granularity", "", "tensorwise or axiswise; likewise")
	fast := f.Bool("fast_accum_filter", true, "measure alone with fast accumulation of the output, or alone without (default: both)")
	f.noEffect("disable_compile", "nothing is compiled here")
	return func(ctx context.Context, out bench.Output) (err error) {
		o := bench.LinearOptions{Device: f.device, Effort: f.effort, FastAccum: []bool{true, false}}
		if f.Changed("fast_accum_filter") {
			o.FastAccum = []bool{*fast}
		}
		if o.Shapes, err = shapes(); err != nil {
			return err
		}
		if *granularity != "" || *casts[0] != "" || *casts[1] != "" || *casts[2] != "" {
			if len(*names) > 0 {
				return fmt.Errorf("--recipe %v: it chooses all casts; leave it out, or the flags scaling_…", *names)
			}
			c := fp8.DefaultConfig()
			for i, cast := range []*fp8.CastConfig{&c.CastConfigInput, &c.CastConfigWeight, &c.CastConfigGradOutput} {
				if *casts[i] != "" {
					cast.ScalingType = fp8.ScalingType(*casts[i])
				}
				if *granularity != "" {
					cast.ScalingGranularity = fp8.ScalingGranularity(*granularity)
				}
			}
			if _, err := c.Recipe(); err != nil {
				return err
			}
			o.Configs = []bench.Config{{Name: "custom", Float8LinearConfig: c}}
			return bench.Linear(ctx, out, o)
		}
		if o.Configs, err = bench.Configs(recipeNames(*names)...); err != nil {
			return fmt.Errorf("--recipe: %w", err)
		}
		return bench.Linear(ctx, out, o)
	}
}

func recipeNames(names []string) (all []fp8.RecipeName) {
	for _, n := range names {
		all = append(all, fp8.RecipeName(n))
	}
	return all
}

func benchPadding(f *benchFlags) func(context.Context, bench.Output) error {
	f.timing()
	shapes, recipe := f.shapes(bench.Unaligned), f.recipe("recipe")
	f.noEffect("compile", "nothing is compiled here")
	return func(ctx context.Context, out bench.Output) error {
		o := bench.PaddingOptions{Device: f.device, Effort: f.effort}
		var err error
		if o.Shapes, err = shapes(); err != nil {
			return err
		}
		if _, o.Recipe, err = recipe(); err != nil {
			return err
		}
		return bench.Padding(ctx, out, o)
	}
}

func benchRoofline(f *benchFlags) func(context.Context, bench.Output) error {
	f.timing()
	shapes, recipe := f.shapes(bench.Pow2), f.recipe("float8_recipe_name")
	measure := f.Bool("do_benchmarks", true, "measure the products and the layer too, beside the model")
	fuse := f.Bool("enable_fusion_modeling", false, "model casts as reading for nothing what the operation before them has written")
	return func(ctx context.Context, out bench.Output) error {
		o := bench.RooflineOptions{Device: f.device, Benchmark: *measure, Fuse: *fuse, Effort: f.effort}
		var err error
		if o.Shapes, err = shapes(); err != nil {
			return err
		}
		if o.Recipe, _, err = recipe(); err != nil {
			return err
		}
		return bench.Roofline(ctx, out, o)
	}
}

func benchMulti(f *benchFlags) func(context.Context, bench.Output) error {
	o := bench.MultiOptions{}
	name := f.String("recipe", string(fp8.RecipeDelayed), fmt.Sprintf("float8 recipe: one of %v", fp8.RecipeNames()))
	gather := f.Bool("gather", false, "weights are gathered in float8")
	f.count(&o.Ranks, "ranks", 2, "ranks, each a goroutine with a device of its own")
	f.count(&o.Layers, "layers", 20, "linear layers, each with a ReLU")
	f.count(&o.Dim, "dim", 1024, "in_features and out_features of each")
	f.count(&o.Batch, "batch", 32, "rows of each rank")
	f.IntVar(&o.Warmup, "warmup", 50, "steps before those that count")
	f.count(&o.Steps, "steps", 50, "steps that count")
	f.noEffect("compile", "nothing is compiled here")
	return func(ctx context.Context, out bench.Output) error {
		if o.Warmup < 0 {
			return fmt.Errorf("--warmup %d: want 0 or more", o.Warmup)
		}
		configs, err := bench.Configs(fp8.RecipeName(*name))
		if err != nil {
			return fmt.Errorf("--recipe: %w", err)
		}
		o.Device, o.Config = f.device, configs[0].Float8LinearConfig
		o.Config.EnableFsdpFloat8AllGather = *gather
		return bench.Multi(ctx, out, o)
	}
}
