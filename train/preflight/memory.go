// SPDX-License-Identifier: Apache-2.0

package preflight

import (
	"fmt"

	"octet/dtype"
	"octet/fsdp"
	"octet/models/llama"
	"octet/models/llama/plan"
	"octet/nn"
)

// need is what a rank holds at most, in bytes: an estimate from above that follows
// from the plan and the shapes, without allocating anything.
type need struct {
	params, ranks int
	state         int // weights, gradients and both moments of the rank's shards, float32
	units         int // two of the largest units: gathered, and their whole gradients in float32; and what stays gathered
	activations   int // of a microbatch, what the backward of all layers keeps and one layer's gradients
	logits        int // and their cast
	batches       int // ids and targets of a step, on the host and on the device
}

const (
	// process is what a rank has beside all that: the program, Go's runtime, the
	// kernels' buffers and those in which ranks meet.
	process = 64 << 20
	// Memory is handed out in sizes that are up to an eighth larger.
	slackNum, slackDen = 9, 8
)

func (n need) total() int {
	return n.state + (n.units+n.activations+n.logits)*slackNum/slackDen + n.batches + process
}

// needOf is the need of each rank of a run.
func needOf(run *plan.Run) need {
	cfg, args, shard := run.Config, run.Args, run.Plan.FSDP
	microbatches := cfg.Microbatches(run.Ranks)
	n := need{params: args.Params(), ranks: cfg.ShardDegree(run.Ranks)}
	n.state = 4 * dtype.Float32.Size() * n.params / n.ranks
	all, last, largest, grad := 0, 0, 0, 0
	for _, unit := range run.Model.Children() {
		gathered, grads := 0, 0
		for _, param := range nn.Parameters(*unit) {
			grads += param.Numel() * dtype.Float32.Size()
			if param.Wire == nil {
				gathered += param.Numel() * shard.Param.Size()
				continue
			}
			for _, spec := range param.Wire.Sends(param.Shape) {
				gathered += spec.Bytes()
			}
		}
		all, last, largest, grad = all+gathered, gathered, max(largest, gathered+grads), max(grad, grads)
	}
	n.units = 2 * largest
	if microbatches > 1 { // a gradient that is added to that of the microbatches before
		n.units += grad / n.ranks
	}
	switch shard.Reshard {
	case fsdp.ReshardNever:
		n.units += all
	case fsdp.ReshardDefault:
		n.units += last
	}
	tokens, act, cast := cfg.Training.LocalBatchSize*cfg.Training.SeqLen, shard.Param.Size(), 0
	if cfg.Float8Enabled() {
		cast = dtype.Float8E4M3.Size()
	}
	n.activations = tokens * (args.Dim*act + (args.Layers+1)*layerBytes(args, act, cast))
	n.logits = tokens * args.Vocab * (act + cast)
	n.batches = 2 * 2 * dtype.Int32.Size() * tokens * microbatches
	return n
}

// layerBytes is what the backward of a layer keeps for a token: both norms and
// sums, q, k, v and attention's output, the feed-forward's three; the casts of the
// inputs of all seven products; statistics of norms and of attention.
func layerBytes(a llama.Args, act, cast int) int {
	kv, hidden := a.KVHeads*a.HeadDim(), a.Hidden()
	return act*(6*a.Dim+2*kv+3*hidden) + cast*(6*a.Dim+hidden) + dtype.Float32.Size()*(2+a.Heads)
}

// checkMemory refuses a model that the ranks of this host cannot hold: without
// it the kernel would kill one of them after minutes.
func checkMemory(run *plan.Run, local int, memory int64) error {
	return needOf(run).check(run.Config.Model.Flavor, local, memory)
}

// check compares with what is free on a host, in bytes; 0 is not known.
func (n need) check(flavor string, local int, free int64) error {
	if free == 0 || int64(local)*int64(n.total()) <= free {
		return nil
	}
	return fmt.Errorf("model.flavor = %q: %s of memory are free on this host, but its share of the job may need %s: on each of %d ranks "+
		"%s for weights, gradients and moments (%d parameters × 16 bytes / %d ranks), %s for two gathered units and their gradients, "+
		"%s for activations, %s for logits, %s for batches, and the program; "+
		"use a smaller model, more hosts, or a smaller training.local_batch_size",
		flavor, gib(int(free)), gib(local*n.total()), local, gib(n.state), n.params, n.ranks, gib(n.units), gib(n.activations), gib(n.logits), gib(n.batches))
}

func gib(bytes int) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }
