// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"octet/comm/record"
	"octet/device/null"
	"octet/device/trace"
	"octet/dtype"
	"octet/nn"
	"octet/optim"
	"octet/parallel"
	"octet/tensor"
)

// Schedule is what a rank of the run enqueues in a step of training, in that order: kernels,
// transfers, collectives and waits (trace.WriteSchedule prints it). Nothing is computed, so
// it takes no time at any size of the model and any number of ranks.
func (r *Run) Schedule(rank int) ([]*trace.Span, error) {
	log := &trace.Log{}
	// GPUs read float8 in one layout, which casts then write beside.
	dev := trace.New(null.Open(null.Options{Float8TN: r.Config.Device.Name == "cuda"}), log)
	m, err := r.dryModel(rank, dev, &record.Log{})
	if err != nil {
		return nil, err
	}
	c, t := m.Ctx(), r.Config.Training
	adam, err := optim.NewAdam(dev, c.Stream, m.Params(), optim.AdamOptions{})
	if err != nil {
		return nil, err
	}
	microbatches := r.Config.Microbatches(r.Ranks)
	ids, targets := make([]*tensor.Tensor, microbatches), make([]*tensor.Tensor, microbatches)
	for i := range microbatches {
		for _, memory := range [][]*tensor.Tensor{ids, targets} {
			memory[i] = c.Pool.Lasting().New(dtype.Int32, t.LocalBatchSize, t.SeqLen)
		}
	}
	for range 2 { // the first step makes delayed scales, too
		log.Start()
		for i := range microbatches {
			c.Stream.Upload(ids[i], nil)
			c.Stream.Upload(targets[i], nil)
		}
		if _, err := m.Step(parallel.StepOptions{Optimizer: adam, Count: 1, MaxNorm: float32(t.MaxNorm), Microbatches: microbatches}, func(c *nn.Ctx, i int) {
			nn.CrossEntropy(c, m.Forward(c, nn.Input(ids[i])), targets[i])
		}).Wait(); err != nil {
			return nil, err
		}
	}
	return log.Stop(), nil
}
