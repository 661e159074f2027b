// SPDX-License-Identifier: Apache-2.0

package train

import (
	"fmt"

	"octet/config"
	"octet/dtype"
	"octet/metrics"
	"octet/models/llama/plan"
	"octet/nn"
)

// need is what a rank holds at least, in bytes. Activations come on top.
type need struct {
	params, ranks int
	state         int // weights, gradients and both moments of the rank's shards, float32
	unit          int // the largest unit: gathered, and its whole gradient in float32
	logits        int
}

func (n need) total() int { return n.state + n.unit + n.logits }

// memoryNeed follows from the plan, without allocating anything.
func memoryNeed(cfg *config.Config, world int) (need, error) {
	model, p, err := plan.Build(cfg)
	if err != nil {
		return need{}, err
	}
	args, err := plan.Args(cfg)
	if err != nil {
		return need{}, err
	}
	n := need{params: args.Params(), ranks: cfg.ShardDegree(world)}
	n.state = 4 * dtype.Float32.Size() * n.params / n.ranks
	for _, unit := range model.Children() {
		bytes := 0
		for _, param := range nn.Parameters(*unit) {
			bytes += param.Numel() * dtype.Float32.Size()
			if param.Wire == nil {
				bytes += param.Numel() * p.FSDP.Param.Size()
				continue
			}
			for _, spec := range param.Wire.Sends(param.Shape) {
				bytes += spec.Bytes()
			}
		}
		n.unit = max(n.unit, bytes)
	}
	n.logits = cfg.Training.LocalBatchSize * cfg.Training.SeqLen * args.Vocab * p.FSDP.Param.Size()
	return n, nil
}

// checkMemory refuses a model that the ranks of this host cannot hold: without
// it the kernel would kill one of them after minutes.
func checkMemory(cfg *config.Config, world, local int) error {
	n, err := memoryNeed(cfg, world)
	if err != nil {
		return err
	}
	return n.check(cfg.Model.Flavor, local, metrics.MachineMemory())
}

// check compares with the memory of a host, in bytes; 0 is not known.
func (n need) check(flavor string, local int, memory int64) error {
	if memory == 0 || int64(local)*int64(n.total()) <= memory {
		return nil
	}
	return fmt.Errorf("model.flavor = %q: this host has %s of memory, but its share of the job needs at least %s: on each of %d ranks "+
		"%s for weights, gradients and moments (%d parameters × 16 bytes / %d ranks), %s for one gathered unit and its gradient, %s for logits; "+
		"use a smaller model, more hosts, or a smaller training.local_batch_size",
		flavor, gib(int(memory)), gib(local*n.total()), local, gib(n.state), n.params, n.ranks, gib(n.unit), gib(n.logits))
}

func gib(bytes int) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }
