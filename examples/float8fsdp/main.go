// SPDX-License-Identifier: Apache-2.0

// Command float8fsdp trains a small model by hand, with the packages and no
// configuration: two ranks as goroutines, every weight sharded, weights gathered
// as float8, all their scales from one all-reduce a step.
//
//	go run ./examples/float8fsdp
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"octet/backend"
	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/models/llama"
	"octet/nn"
	"octet/optim"
	"octet/parallel"
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
	return backend.Run(context.Background(), ranks, backend.Options{}, func(rank *backend.Rank) error { return train(rank, out) })
}

func train(rank *backend.Rank, out io.Writer) error {
	var model nn.Module = llama.New(llama.Args{Dim: 64, Layers: 2, Heads: 4, KVHeads: 2, Vocab: 64, FFNHiddenDim: 128, NormEps: 1e-5, RopeTheta: 1e4}, seq)
	float8 := fp8.DefaultConfig()
	float8.EnableFsdpFloat8AllGather = true
	plan := parallel.Plan{
		Float8: &parallel.Float8{Config: float8, Skip: []string{"output"}, Precompute: true},
		Units:  []string{"tok_embeddings", "layers.*", "norm+output"},
		FSDP:   fsdp.Options{Param: dtype.BFloat16},
	}
	if err := plan.Convert(&model); err != nil {
		return err
	}
	m, err := plan.Shard(model, rank.World, rank.Device)
	if err != nil {
		return err
	}
	if err := m.Init(1); err != nil {
		return err
	}
	c := m.Ctx()
	adam, err := optim.NewAdam(rank.Device, c.Stream, m.Params(), optim.AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
	if err != nil {
		return err
	}
	ids, targets := c.Pool.New(dtype.Int32, batch, seq), c.Pool.New(dtype.Int32, batch, seq)
	for step := range steps {
		in, next := counting(step, rank.World.Rank())
		c.Stream.Upload(ids, device.Int32Bytes(in))
		c.Stream.Upload(targets, device.Int32Bytes(next))
		result, err := m.Step(parallel.StepOptions{Optimizer: adam, LR: 3e-3, MaxNorm: 1, Count: len(next)}, func(c *nn.Ctx, _ int) {
			nn.CrossEntropy(c, m.Forward(c, nn.Input(ids)), targets)
		}).Wait()
		if err != nil {
			return err
		}
		if rank.World.Rank() == 0 && (step == 0 || step == steps-1) {
			fmt.Fprintf(out, "step %d: loss %.3f\n", step+1, result.Loss)
		}
	}
	return nil
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
