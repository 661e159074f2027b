// SPDX-License-Identifier: Apache-2.0

package train

import (
	"errors"
	"fmt"
	"time"

	"octet/device"
	"octet/fp8"
	"octet/metrics"
	"octet/nn"
	"octet/parallel"
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
	t.lrStep++
	lr := t.cfg.Optimizer.LR * t.lr.Factor(t.lrStep-1)
	watching := t.watching()
	if watching {
		t.watch.Begin(t.model.Ctx())
	}
	pending, err := t.enqueue(lr)
	if err != nil {
		return metrics.Record{}, t.failed(err)
	}
	casts := func() ([]fp8.CastStats, error) { return nil, nil }
	if watching {
		casts = t.watch.End(t.model.Ctx(), t.comm)
	}
	if t.step < t.cfg.Training.Steps {
		t.next.read()
	}
	r, err := pending.Wait()
	if errors.Is(err, parallel.ErrNoTerms) {
		err = fmt.Errorf("no rank has a token to train on: every target is %d", device.Ignored)
	}
	for _, cast := range r.NotFinite {
		t.log.Warn(fmt.Sprintf("step %d: float8/nonfinite_amax: %s met a value that is not finite: an infinite one was cast to the largest there is", t.step, cast))
	}
	if r.Stale != "" {
		t.log.Warn(fmt.Sprintf("step %d: float8: %s: it was made anew, by a collective of its own", t.step, r.Stale))
	}
	if err != nil {
		return metrics.Record{}, t.failed(err)
	}
	measured, err := casts()
	if err != nil {
		return metrics.Record{}, t.failed(err)
	}

	t.stopping = r.Votes > 0
	elapsed := time.Since(start)
	tokens := int64(len(t.micro)) * int64(t.micro[0].ids.Numel())
	ofAll := tokens * int64(t.cfg.DataRanks(t.comm.Size()))
	t.tokens += ofAll
	return metrics.Record{
		Step: t.step, Loss: r.Loss, MaxLoss: r.MaxLoss, GradNorm: r.GradNorm, LR: lr,
		Tokens:     ofAll,
		TokensSeen: t.tokens,
		StepMS:     elapsed.Seconds() * 1e3,
		DataMS:     t.next.taken.Seconds() * 1e3,
		TokensPerS: float64(tokens) / float64(t.cfg.Parallelism.TensorParallelDegree) / elapsed.Seconds(),
		RSSMB:      float64(metrics.RSS()) / (1 << 20),
		CommBytes:  t.sent.Bytes() - sent,
		GPU:        t.usage(),
		Casts:      castRecords(measured),
	}, nil
}

// usage is what the GPU does, if there is one. Where it can no longer be asked that is told once: training does not need it.
func (t *Trainer) usage() *metrics.GPU {
	if t.gpu == nil {
		return nil
	}
	u, err := t.gpu()
	if err != nil {
		t.warn(fmt.Sprintf("memory and utilization of the GPU are not reported from step %d on: %v", t.step, err))
		t.gpu = nil
		return nil
	}
	return &u
}

// enqueue uploads the step's microbatches and has the device train on them.
func (t *Trainer) enqueue(lr float64) (*parallel.Pending, error) {
	if err := t.next.need(); err != nil {
		return nil, err
	}
	valid := 0
	for i, b := range t.next.take() {
		t.micro[i].upload(t.model.Ctx().Stream, b)
		valid += b.Valid
	}
	o := parallel.StepOptions{
		Optimizer: t.adam, LR: lr, MaxNorm: float32(t.cfg.Training.MaxNorm), Count: valid, Microbatches: len(t.micro),
		BeforeUpdate: t.copied, Vote: t.stopAsked(), Graph: t.graph,
	}
	if t.watching() { // what is looked at in such a step, the graph does not look at
		o.Graph = nil
	}
	t.copied = nil
	return t.model.Step(o, func(c *nn.Ctx, i int) {
		nn.CrossEntropy(c, t.model.Forward(c, nn.Input(t.micro[i].ids)), t.micro[i].targets)
	}), nil
}

func (t *Trainer) failed(err error) error { return fmt.Errorf("train: step %d: %w", t.step, err) }
