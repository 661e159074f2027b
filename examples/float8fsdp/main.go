// SPDX-License-Identifier: Apache-2.0

// Command float8fsdp trains a small model by hand, with the packages and no
// configuration: two ranks as goroutines, every weight sharded, weights gathered
// as float8, all their scales from one all-reduce a step.
//
//	go run ./examples/float8fsdp
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"octet/backend"
	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	launcher "octet/launcher/local"
	"octet/models/llama"
	"octet/nn"
	"octet/optim"
)

const (
	ranks, steps = 2, 30
	batch, seq   = 4, 32 // of each rank
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(out io.Writer) error {
	list, err := backend.Local(ranks, backend.Options{})
	if err != nil {
		return err
	}
	err = launcher.Run(context.Background(), ranks, func(_ context.Context, rank int) error {
		err := train(list[rank], out)
		if err != nil {
			list[rank].World.Abort(err) // or the other rank would wait for this one
		}
		return err
	})
	for _, rank := range list {
		err = errors.Join(err, rank.Close())
	}
	return err
}

func train(rank *backend.Rank, out io.Writer) error {
	dev, world := rank.Device, rank.World

	// Structure: a Llama, its linear layers in float8, its parts as FSDP units.
	var model nn.Module = llama.New(llama.Args{Dim: 64, Layers: 2, Heads: 4, KVHeads: 2, Vocab: 64, FFNHiddenDim: 128, NormEps: 1e-5, RopeTheta: 1e4}, seq)
	cfg := fp8.DefaultConfig()
	cfg.EnableFsdpFloat8AllGather = true
	model, err := fp8.ConvertToFloat8Training(model, cfg, fp8.FilterFQNs("output"))
	if err != nil {
		return err
	}
	sharded, err := fsdp.New(world, fsdp.Options{Param: dtype.BFloat16})
	if err != nil {
		return err
	}
	units := map[string]bool{"tok_embeddings": true, "layers.0": true, "layers.1": true, "norm+output": true}
	if err := sharded.Wrap(&model, func(path string, _ nn.Module) bool { return units[path] }); err != nil {
		return err
	}

	scales := fp8.ScalesOf(model)

	// Memory: shards, their first values, the optimizer's moments.
	if err := sharded.Allocate(dev); err != nil {
		return err
	}
	s := dev.NewStream("compute")
	c := &nn.Ctx{Stream: s, Pool: device.NewPool(dev), Tape: &nn.Tape{}, Act: dtype.BFloat16}
	for _, p := range sharded.Params() {
		p.Draw(s, 1)
	}
	adam, err := optim.NewAdam(dev, s, sharded.Params(), optim.AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
	if err != nil {
		return err
	}
	clip := optim.NewClipper(c.Pool, sharded.Params())
	ids, targets := c.Pool.New(dtype.Int32, batch, seq), c.Pool.New(dtype.Int32, batch, seq)
	loss, scale := c.Pool.New(dtype.Float32, 1), c.Pool.New(dtype.Float32, 1)
	s.Upload(scale, device.Float32Bytes([]float32{1.0 / (ranks * batch * seq)}))

	for step := range steps {
		sharded.BeforeGathers(c, scales.PrecomputeFloat8DynamicScaleForFSDP)
		in, next := counting(step, world.Rank())
		s.Upload(ids, device.Int32Bytes(in))
		s.Upload(targets, device.Int32Bytes(next))
		s.Zero(loss)
		sharded.BeginForward(c)
		nn.CrossEntropy(c, loss, model.Forward(c, nn.Input(ids)), targets, scale)
		c.Tape.Backward()
		sharded.Finish(c)
		clip.Measure(s, world, 1)
		adam.Step(s, clip.Coef, 3e-3)

		world.AllReduce(s, comm.T(loss), comm.Sum)
		value := make([]float32, 1)
		s.Download(device.Float32Bytes(value), loss)
		if err := s.Sync(); err != nil {
			return err
		}
		if world.Rank() == 0 && (step == 0 || step == steps-1) {
			fmt.Fprintf(out, "step %d: loss %.3f\n", step+1, value[0])
		}
	}
	return sharded.Sync()
}

// counting makes sequences that count up from a start of their own: what comes
// next is always one more.
func counting(step, rank int) (in, out []int32) {
	for b := range batch {
		start := (step*ranks+rank)*batch + b
		for i := range seq {
			in, out = append(in, int32((7*start+i)%64)), append(out, int32((7*start+i+1)%64))
		}
	}
	return in, out
}
