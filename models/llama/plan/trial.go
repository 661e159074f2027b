// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"octet/comm"
	comms "octet/comm/null"
	"octet/comm/record"
	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/optim"
	"octet/parallel"
	"octet/tensor"
)

// trial is a rank of a run on a device that computes nothing, in a group where nobody else is.
type trial struct {
	*parallel.Model
	run     *Run
	adam    *optim.Adam
	batches []batch // of each microbatch
}

// batch is the token ids that the model reads and those that it should foretell.
type batch struct{ ids, targets *tensor.Tensor }

// trial builds the model of a rank, with its optimizer; what it asks of its communicators is in log.
func (r *Run) trial(rank int, dev device.Device, log *record.Log) (*trial, error) {
	root, err := r.Build()
	if err != nil {
		return nil, err
	}
	world := record.New(comms.New(rank, r.Ranks), log)
	world.(comm.Control).SetName("world")
	m, err := r.Plan.Shard(root, world, dev)
	if err != nil {
		return nil, err
	}
	if err := m.Load(func(_ device.Stream, params []*nn.Param) error {
		for _, p := range params {
			p.Written()
		}
		return nil
	}); err != nil {
		return nil, err
	}
	m.Ctx().Dry = true
	adam, err := optim.NewAdam(dev, m.Ctx().Stream, m.Params(), optim.AdamOptions{})
	return &trial{Model: m, run: r, adam: adam}, err
}

// take takes the memory of the batches of a step.
func (t *trial) take(microbatches int) {
	for range microbatches {
		t.batches = append(t.batches, t.batch(t.run.Config.Training.LocalBatchSize, t.run.Config.Training.SeqLen))
	}
}

func (t *trial) batch(size, seqLen int) batch {
	pool := t.Ctx().Pool.Lasting()
	return batch{pool.New(dtype.Int32, size, seqLen), pool.New(dtype.Int32, size, seqLen)}
}

// step runs one, of the first microbatches that were taken, and calls begin before each.
func (t *trial) step(microbatches int, begin func(i int)) error {
	s := t.Ctx().Stream
	for _, b := range t.batches[:microbatches] {
		s.Upload(b.ids, nil)
		s.Upload(b.targets, nil)
	}
	options := parallel.StepOptions{Optimizer: t.adam, Count: 1, MaxNorm: float32(t.run.Config.Training.MaxNorm), Microbatches: microbatches}
	_, err := t.Step(options, func(c *nn.Ctx, i int) {
		begin(i)
		t.loss(c, t.batches[i])
	}).Wait()
	return err
}

func (t *trial) loss(c *nn.Ctx, b batch) {
	nn.CrossEntropy(c, t.Forward(c, nn.Input(b.ids)), b.targets)
}
