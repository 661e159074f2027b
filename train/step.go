// SPDX-License-Identifier: Apache-2.0

package train

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"octet/comm"
	"octet/device"
	"octet/metrics"
	"octet/nn"
)

// Step trains on one global batch. The loss is the mean over the valid tokens
// of all ranks, so gradients are plain sums over ranks and microbatches. A
// gradient norm that is not finite leaves the weights as they are, on every rank,
// and is an error.
//
// The host enqueues the whole step, reads the next batch while the device works,
// and waits once.
func (t *Trainer) Step() (metrics.Record, error) {
	start, sent := time.Now(), t.sent.Bytes()
	t.step++
	if err := t.next.need(); err != nil {
		return metrics.Record{}, t.failed(err)
	}
	t.feed()
	for _, m := range t.micro {
		t.forwardBackward(m)
	}
	lr := t.cfg.Optimizer.LR * t.lr.Factor(t.step-1)
	t.update(lr)
	done := t.ctx.Stream.Record()
	if t.step < t.cfg.Training.Steps {
		t.next.read()
	}
	if err := done.Sync(); err != nil {
		return metrics.Record{}, t.failed(cmp.Or(t.sync(), err))
	}
	loss, norm := float64(t.host.loss[0]), float64(t.host.norm[0])
	if err := t.host.check(); err != nil {
		return metrics.Record{}, t.failed(err)
	}

	elapsed := time.Since(start)
	tokens := int64(len(t.micro)) * int64(t.micro[0].ids.Numel())
	return metrics.Record{
		Step: t.step, Loss: loss, GradNorm: norm, LR: lr,
		Tokens:     tokens * int64(t.comm.Size()),
		StepMS:     elapsed.Seconds() * 1e3,
		TokensPerS: float64(tokens) / elapsed.Seconds(),
		RSSMB:      float64(metrics.RSS()) / (1 << 20),
		CommBytes:  t.sent.Bytes() - sent,
	}, nil
}

// feed uploads the step's microbatches and counts their targets on all ranks.
func (t *Trainer) feed() {
	s := t.ctx.Stream
	t.host.count[0] = 0
	for i, b := range t.next.take() {
		t.micro[i].upload(s, b)
		t.host.count[0] += int32(b.Valid)
	}
	s.Upload(t.count, device.Int32Bytes(t.host.count[:]))
	t.comm.AllReduce(s, comm.T(t.count), comm.Sum)
	s.Reciprocal(t.scale, t.count)
	s.Zero(t.loss)
}

// forwardBackward adds one microbatch's loss and gradients.
func (t *Trainer) forwardBackward(m microbatch) {
	c := t.ctx
	t.sharded.BeginForward(c)
	logits := t.model.Forward(c, nn.Input(m.ids))
	nn.CrossEntropy(c, t.loss, logits, m.targets, t.scale)
	c.Tape.Backward()
}

// update clips the gradients, moves the weights, prepares the scales of their
// next gathers, and has the step's numbers sent to the host.
func (t *Trainer) update(lr float64) {
	c, s := t.ctx, t.ctx.Stream
	t.sharded.Finish(c)
	t.clip.Measure(s, t.comm, float32(t.cfg.Training.MaxNorm))
	t.comm.AllReduce(s, comm.T(t.loss), comm.Sum)
	s.Download(device.Float32Bytes(t.host.loss[:]), t.loss)
	s.Download(device.Float32Bytes(t.host.norm[:]), t.clip.Norm)
	s.Download(device.Int32Bytes(t.host.count[:]), t.count)
	t.adam.Step(s, t.clip.Coef, lr)
	t.precompute()
}

// check refuses numbers after which training makes no sense. Every rank has the
// same ones, so every rank stops; Adam has written nothing.
func (r *results) check() error {
	loss, norm := float64(r.loss[0]), float64(r.norm[0])
	switch {
	case r.count[0] == 0:
		return fmt.Errorf("no rank has a token to train on: every target is %d", device.Ignored)
	case math.IsNaN(norm) || math.IsInf(norm, 0):
		return fmt.Errorf("the gradient norm is %v (loss %v); the weights are those of the step before", norm, loss)
	}
	return nil
}

// precompute makes the scales of the weights as they are now, beside what the
// compute stream does next.
func (t *Trainer) precompute() {
	if t.plan.Float8 == nil || !t.plan.Float8.Precompute {
		return
	}
	t.sharded.BeforeGathers(t.ctx, t.scales.PrecomputeFloat8DynamicScaleForFSDP)
}

// sync waits for all streams. The first error of the gathers is the cause of
// what follows on the compute stream.
func (t *Trainer) sync() error {
	err := t.ctx.Stream.Sync()
	return cmp.Or(t.sharded.Sync(), err)
}

func (t *Trainer) failed(err error) error { return fmt.Errorf("train: step %d: %w", t.step, err) }
