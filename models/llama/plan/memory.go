// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"

	comms "octet/comm/null"
	"octet/config"
	"octet/device"
	"octet/device/null"
	"octet/dtype"
	"octet/fp8"
	"octet/nn"
	"octet/optim"
	"octet/parallel"
	"octet/tensor"
)

// Memory is what a rank takes of its device at most, in bytes.
type Memory struct {
	State       int // weights, their gradients and moments: the rank's shards, float32
	Units       int // gathered weights, whole gradients, and what is reduced
	Activations int // what forward keeps for backward, and the gradients there
	Total       int // all of it, with batches, scales and the like
}

// Memory is that of rank 0, of which the others have no more. It is counted, not
// estimated: a step, and a batch of validation, run on a device that computes nothing.
func (r *Run) Memory() (Memory, error) {
	dev := null.Open(null.Options{})
	root, err := r.Build()
	if err != nil {
		return Memory{}, err
	}
	m, err := r.Plan.Shard(root, comms.New(0, r.Ranks), dev)
	if err != nil {
		return Memory{}, err
	}
	if err := m.Load(func(_ device.Stream, params []*nn.Param) error {
		for _, p := range params {
			p.Written()
		}
		return nil
	}); err != nil {
		return Memory{}, err
	}
	c, t, v := m.Ctx(), r.Config.Training, r.Config.Validation
	c.Dry = true
	adam, err := optim.NewAdam(dev, c.Stream, m.Params(), optim.AdamOptions{})
	if err != nil {
		return Memory{}, err
	}
	memory := Memory{State: dev.Allocated()}
	if r.Config.Debug.Float8Stats {
		fp8.NewWatch(m.Root()).Begin(c)
	}
	batch := func(size, seqLen int) (ids, targets *tensor.Tensor) {
		pool := c.Pool.Lasting()
		return pool.New(dtype.Int32, size, seqLen), pool.New(dtype.Int32, size, seqLen)
	}
	loss := func(c *nn.Ctx, ids, targets *tensor.Tensor) {
		nn.CrossEntropy(c, m.Forward(c, nn.Input(ids)), targets)
	}
	ids, targets := batch(t.LocalBatchSize, t.SeqLen)
	microbatches := r.Config.Microbatches(r.Ranks)
	for range microbatches - 1 {
		batch(t.LocalBatchSize, t.SeqLen)
	}
	// Of more than three microbatches those between the first and the last are alike, as
	// steps are.
	if _, err := m.Step(parallel.StepOptions{Optimizer: adam, Count: 1, Microbatches: min(3, microbatches)}, func(c *nn.Ctx, _ int) {
		loss(c, ids, targets)
	}).Wait(); err != nil {
		return Memory{}, err
	}
	if v.Enable {
		ids, targets := batch(v.LocalBatchSize, v.SeqLen)
		if _, err := m.Eval(1, func(c *nn.Ctx, _ int) (int, error) {
			loss(c, ids, targets)
			return 1, nil
		}); err != nil {
			return Memory{}, err
		}
	}
	memory.Activations, memory.Units = m.Peak()
	memory.Total = dev.Allocated()
	return memory, nil
}

// MemoryPlan says what a rank's memory goes to, and what activations would take in each
// activation_checkpoint.mode.
func (r *Run) MemoryPlan() (string, error) {
	own, err := r.Memory()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "memory  of each rank at most: %d bytes of weights, gradients and moments, %d of what units gather and reduce, %d of activations\n",
		own.State, own.Units, own.Activations)
	b.WriteString("memory  activations by mode:")
	for i, mode := range []config.ActivationCheckpoint{{Mode: "none"}, {Mode: "selective", SelectiveACOption: "2"}, {Mode: "selective", SelectiveACOption: "op"}, {Mode: "full"}} {
		other := *r
		if other.Plan.Recompute = recompute(mode); other.Plan.Recompute != nil && other.Plan.Recompute.Every > r.Args.Layers {
			continue // there is none
		}
		m, err := other.Memory()
		if err != nil {
			return "", err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %s %d", strings.TrimSpace(mode.Mode+" "+mode.SelectiveACOption), m.Activations)
	}
	b.WriteString(" bytes\n")
	return b.String(), nil
}
