// SPDX-License-Identifier: Apache-2.0

package train

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"octet/comm"
	"octet/device"
	"octet/fp8"
	"octet/metrics"
	"octet/nn"
)

// Step trains on one global batch. The loss is the mean over the valid tokens
// of all ranks, so gradients are plain sums over ranks and microbatches. A
// gradient norm that is not finite stops every rank before the update.
func (t *Trainer) Step() (metrics.Record, error) {
	start, sent := time.Now(), t.sent.Bytes()
	t.step++
	if _, err := t.load(); err != nil {
		return metrics.Record{}, t.failed(err)
	}
	for _, b := range t.batches {
		t.forwardBackward(b.Inputs, b.Targets)
	}
	loss, norm, err := t.measure()
	if err != nil {
		return metrics.Record{}, t.failed(err)
	}
	lr := t.cfg.Optimizer.LR * t.lr.Factor(t.step-1)
	t.update(lr)

	elapsed := time.Since(start)
	tokens := int64(len(t.batches)) * int64(t.ids.Numel())
	return metrics.Record{
		Step: t.step, Loss: loss, GradNorm: norm, LR: lr,
		Tokens:     tokens * int64(t.comm.Size()),
		StepMS:     elapsed.Seconds() * 1e3,
		TokensPerS: float64(tokens) / elapsed.Seconds(),
		RSSMB:      float64(metrics.RSS()) / (1 << 20),
		CommBytes:  t.sent.Bytes() - sent,
	}, nil
}

// load reads the step's microbatches and counts their valid tokens on all
// ranks, whose reciprocal scales the loss.
func (t *Trainer) load() (valid int, err error) {
	local := make([]int32, 1)
	for _, b := range t.batches {
		if err := t.loader.Next(b); err != nil {
			return 0, err
		}
		local[0] += int32(b.Valid)
	}
	s := t.ctx.Stream
	s.Upload(t.count, device.Int32Bytes(local))
	t.comm.AllReduce(s, comm.T(t.count), comm.Sum)
	s.Reciprocal(t.scale, t.count)
	s.Download(device.Int32Bytes(local), t.count)
	if err := s.Sync(); err != nil {
		return 0, err
	}
	if local[0] == 0 {
		return 0, fmt.Errorf("no rank has a token to train on: every target is %d", -100)
	}
	s.Zero(t.loss)
	return int(local[0]), nil
}

// forwardBackward adds one microbatch's loss and gradients.
func (t *Trainer) forwardBackward(ids, targets []int32) {
	c := t.ctx
	c.Stream.Upload(t.ids, device.Int32Bytes(ids))
	c.Stream.Upload(t.targets, device.Int32Bytes(targets))
	t.sharded.BeginForward(c)
	logits := t.model.Forward(c, nn.Input(t.ids))
	nn.CrossEntropy(c, t.loss, logits, t.targets, t.scale)
	c.Tape.Backward()
}

// measure waits for the gradients and returns the loss and their norm over all
// ranks.
func (t *Trainer) measure() (loss, norm float64, err error) {
	c := t.ctx
	t.sharded.Finish(c)
	t.clip.Measure(c.Stream, t.comm, float32(t.cfg.Training.MaxNorm))
	t.comm.AllReduce(c.Stream, comm.T(t.loss), comm.Sum)
	l, n := make([]float32, 1), make([]float32, 1)
	c.Stream.Download(device.Float32Bytes(l), t.loss)
	c.Stream.Download(device.Float32Bytes(n), t.clip.Norm)
	if err := t.sync(); err != nil {
		return 0, 0, err
	}
	loss, norm = float64(l[0]), float64(n[0])
	if math.IsNaN(norm) || math.IsInf(norm, 0) {
		// Every rank has the same norm, so every rank stops here.
		return loss, norm, fmt.Errorf("the gradient norm is %v (loss %v); the weights are those of the step before", norm, loss)
	}
	return loss, norm, nil
}

// update moves the weights and prepares the scales of their next gathers. It
// only enqueues: the next step's reading of data runs beside it.
func (t *Trainer) update(lr float64) {
	t.adam.Step(t.ctx.Stream, t.clip.Coef, lr)
	t.precompute()
}

func (t *Trainer) precompute() {
	if t.cfg.Quantize.Linear.Float8.PrecomputeFloat8DynamicScaleForFSDP {
		fp8.PrecomputeFloat8DynamicScaleForFSDP(t.ctx, t.comm, t.model)
	}
}

// sync waits for all streams. The first error of the gathers is the cause of
// what follows on the compute stream.
func (t *Trainer) sync() error {
	err := t.ctx.Stream.Sync()
	return cmp.Or(t.sharded.Sync(), err)
}

func (t *Trainer) failed(err error) error { return fmt.Errorf("train: step %d: %w", t.step, err) }
