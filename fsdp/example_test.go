// SPDX-License-Identifier: Apache-2.0

package fsdp_test

import (
	"context"
	"fmt"

	"octet/backend"
	"octet/comm/grid"
	"octet/device"
	"octet/dtype"
	"octet/fsdp"
	"octet/nn"
)

// Two ranks have half of a weight each, and every rank gets its rows of the gradients'
// sum: dy·x of both. parallel.Model does all this in its order, and trains.
func Example() {
	rows := make([][]float32, 2)
	err := backend.Run(context.Background(), 2, backend.Options{}, func(r *backend.Rank) error {
		var model nn.Module = nn.NewLinear(2, 4, nn.LinearOptions{Init: nn.Normal(1)})
		f, err := fsdp.Shard(&model, grid.Line(r.World, fsdp.Axis), fsdp.Options{Param: dtype.Float32}, func(string, nn.Module) bool { return false })
		if err != nil {
			return err
		}
		if err := f.Allocate(r.Device); err != nil {
			return err
		}
		c := &nn.Ctx{Stream: r.Device.NewStream("compute"), Pool: device.NewPool(r.Device), Tape: &nn.Tape{}, Act: dtype.Float32}
		weight := f.Params()[0]
		weight.Draw(c.Stream, 1)
		x, dy := c.New(1, 2), c.New(1, 4)
		c.Stream.Upload(x, device.Float32Bytes([]float32{1, float32(10 * r.World.Rank())}))
		c.Stream.Upload(dy, device.Float32Bytes([]float32{1, 2, 3, 4}))

		f.Begin(c, true)
		model.Forward(c, nn.Input(x)).SetGrad(dy)
		c.Tape.Backward()
		f.Finish(c)

		grad := make([]float32, weight.LocalGrad().Numel())
		c.Stream.Download(device.Float32Bytes(grad), weight.LocalGrad())
		rows[r.World.Rank()] = grad
		return c.Stream.Sync()
	})
	fmt.Println(rows, err)
	// Output: [[2 10 4 20] [6 30 8 40]] <nil>
}
