// SPDX-License-Identifier: Apache-2.0

package preflight

import (
	"fmt"

	"octet/config"
	"octet/dtype"
	"octet/models/llama/plan"
)

// process is what a rank has beside what it takes of its device: the program, Go's runtime,
// the kernels' buffers and those in which ranks meet.
const process = 64 << 20

// need is what a rank has at most, in bytes.
type need struct {
	plan.Memory
	params, ranks int
	batches       int // ids and targets of a step on the host, as on the device
	snapshot      int // of an asynchronous checkpoint: weights and moments, on the host
}

func (n need) total() int { return n.Total + n.batches + n.snapshot + process }

// needOf is the need of each rank of a run.
func needOf(run *plan.Run) (need, error) {
	cfg := run.Config
	m, err := run.Memory()
	snapshot := 0
	if c := cfg.Checkpoint; c.Enable && !c.LoadOnly && c.AsyncMode != "disabled" {
		snapshot = m.State / 4 * 3 // all but the gradients
	}
	return need{
		Memory: m, params: run.Args.Params(), ranks: cfg.ShardDegree(run.Ranks), snapshot: snapshot,
		batches: 2 * dtype.Int32.Size() * cfg.Training.LocalBatchSize * cfg.Training.SeqLen * cfg.Microbatches(run.Ranks),
	}, err
}

// checkMemory refuses a model that the ranks of this host cannot hold: without
// it the kernel would kill one of them after minutes.
func checkMemory(run *plan.Run, local int, memory int64) error {
	if memory == 0 {
		return nil // not known
	}
	n, err := needOf(run)
	if err != nil {
		return err
	}
	return n.check(run.Config, local, memory)
}

// check compares with what is free on a host, in bytes.
func (n need) check(cfg *config.Config, local int, free int64) error {
	if int64(local)*int64(n.total()) <= free {
		return nil
	}
	less := "use a smaller model, more hosts, or a smaller training.local_batch_size"
	if cfg.ActivationCheckpoint.Mode != "full" {
		less += `, or activation_checkpoint.mode = "full"`
	}
	copied := ""
	if n.snapshot > 0 {
		less += `, or checkpoint.async_mode = "disabled"`
		copied = gib(n.snapshot) + " for the copy that is saved, "
	}
	return fmt.Errorf("model.flavor = %q: %s of memory are free on this host, but its share of the job may need %s: on each of %d ranks "+
		"%s for weights, gradients and moments (%d parameters × 16 bytes / %d ranks), %s for what units gather and reduce, "+
		"%s for activations, %sand batches and the program; %s",
		cfg.Model.Flavor, gib(int(free)), gib(local*n.total()), local, gib(n.State), n.params, n.ranks, gib(n.Units), gib(n.Activations), copied, less)
}

func gib(bytes int) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }
