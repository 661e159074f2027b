// SPDX-License-Identifier: Apache-2.0

package fp8_test

import (
	"context"
	"fmt"

	"octet/backend"
	"octet/comm/grid"
	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/optim"
)

// Conversion changes how Linears compute and how their weights travel, in place, and
// says what it made of each. parallel.Plan does it for a model that is to be sharded.
func Example() {
	linear := func(in, out int) nn.Module { return nn.NewLinear(in, out, nn.LinearOptions{}) }
	model := &nn.Sequential{Names: []string{"up", "down", "output"}, Modules: []nn.Module{linear(32, 64), linear(64, 32), linear(32, 10)}}

	cfg := fp8.DefaultConfig()
	cfg.EnableFsdpFloat8AllGather = true
	if _, err := fp8.ConvertToFloat8Training(model, cfg, fp8.FilterFQNs("output")); err != nil { // 10 is no multiple of 16
		panic(err)
	}
	fmt.Print(fp8.Report(model))
	// Output:
	// up                               [64 32]        i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2
	// down                             [32 64]        i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2
	// output                           [10 32]        high precision
}

// A filter may be any function of a module and its name: here it skips by name, and what
// is too small to gain. AutoFilter knows the sizes that torchao measured.
func ExampleModuleFilter() {
	linear := func(in, out int) nn.Module { return nn.NewLinear(in, out, nn.LinearOptions{}) }
	model := &nn.Sequential{Names: []string{"wide", "narrow", "output"}, Modules: []nn.Module{linear(256, 512), linear(512, 64), linear(64, 1024)}}
	byName := fp8.FilterFQNs("output")
	large := func(m nn.Module, fqn string) bool {
		l, ok := m.(*nn.Linear)
		return ok && byName(m, fqn) && l.Weight.Numel() >= 1<<16
	}
	if _, err := fp8.ConvertToFloat8Training(model, fp8.DefaultConfig(), large); err != nil {
		panic(err)
	}
	fmt.Print(fp8.Report(model))
	// Output:
	// wide                             [512 256]      i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2
	// narrow                           [64 512]       high precision
	// output                           [1024 64]      high precision
}

// A recipe as a table: what is multiplied with what.
func ExampleRecipe_Table() {
	cfg, err := fp8.ConfigFromRecipe(fp8.RecipeRowwiseWithGWHP)
	if err != nil {
		panic(err)
	}
	recipe, err := cfg.Recipe()
	if err != nil {
		panic(err)
	}
	fmt.Print(recipe.Table())
	// Output:
	// matmul       a                   b                   fast accum  out
	// output       i:dyn_axs_e4m3      w:dyn_axs_e4m3      yes         as activations
	// grad_input   go:dyn_axs_e4m3     w_gi:dyn_ten_e4m3   no          as activations
	// grad_weight  go_gw:dis_ten_e4m3  i_gw:dis_ten_e4m3   no          float32
}

// Delayed scaling by hand: two ranks share a Linear, whose weight travels as float8. The
// sync stands between the backward and the optimizer. parallel.Model does all of it.
func ExampleScales_SyncFloat8AmaxAndScaleHistory() {
	losses := make([][]float32, 2)
	if err := backend.Run(context.Background(), 2, backend.Options{}, func(r *backend.Rank) (err error) {
		losses[r.Rank], err = delayedByHand(r)
		return err
	}); err != nil {
		panic(err)
	}
	fmt.Println("the loss falls below a tenth:", losses[0][29] < losses[0][0]/10)
	// Output: the loss falls below a tenth: true
}

func delayedByHand(r *backend.Rank) (losses []float32, err error) {
	const dim, rows = 32, 16
	var model nn.Module = nn.NewLinear(dim, dim, nn.LinearOptions{Init: nn.Normal(0.1)})
	cfg, err := fp8.ConfigFromRecipe(fp8.RecipeDelayed)
	if err != nil {
		return nil, err
	}
	cfg.EnableFsdpFloat8AllGather = true
	if model, err = fp8.ConvertToFloat8Training(model, cfg, fp8.FilterFQNs()); err != nil {
		return nil, err
	}
	scales := fp8.ScalesOf(model)
	f, err := fsdp.Shard(&model, grid.Line(r.World, fsdp.Axis), fsdp.Options{Param: dtype.BFloat16}, func(string, nn.Module) bool { return false })
	if err != nil {
		return nil, err
	}
	if err := f.Allocate(r.Device); err != nil {
		return nil, err
	}
	c := &nn.Ctx{Stream: r.Device.NewStream("compute"), Pool: device.NewPool(r.Device), Tape: &nn.Tape{}, Act: dtype.BFloat16}
	scales.Allocate(c, r.World)
	f.Params()[0].Draw(c.Stream, 1)
	adam, err := optim.NewAdam(r.Device, c.Stream, f.Params(), optim.AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
	if err != nil {
		return nil, err
	}
	x, wide := c.Pool.New(dtype.BFloat16, rows, dim), c.Pool.New(dtype.Float32, rows, dim)
	values := make([]float32, rows*dim) // to be reproduced
	for i := range values {
		values[i] = float32(i%7-3) / 3
	}
	c.Stream.Upload(wide, device.Float32Bytes(values))
	c.Stream.Copy(x, wide)
	c.Loss, c.Scale = c.Pool.New(dtype.Float32, 1), c.Pool.New(dtype.Float32, 1)
	c.Stream.Upload(c.Scale, device.Float32Bytes([]float32{1.0 / (2 * rows * dim)})) // of both ranks
	for range 30 {
		c.Stream.Zero(c.Loss)
		f.Begin(c, true)
		nn.MeanSquaredError(c, model.Forward(c, nn.Input(x)), wide)
		c.Tape.Backward()
		f.Finish(c)
		scales.SyncFloat8AmaxAndScaleHistory(c)
		adam.Step(c.Stream, nil, 1e-2)
		loss := []float32{0}
		c.Stream.Download(device.Float32Bytes(loss), c.Loss)
		if err := c.Stream.Sync(); err != nil {
			return nil, err
		}
		losses = append(losses, loss[0])
	}
	return losses, f.Sync()
}
