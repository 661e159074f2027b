// SPDX-License-Identifier: Apache-2.0

// Package train is the step loop: forward, backward, clip, update, report, as
// torchtitan's trainer does it, on one rank of a job.
// Package preflight checks and resolves the run before it. Run trains to the end;
// a Trainer is for those who want to look at every step.
package train

import (
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"octet/comm"
	"octet/comm/record"
	"octet/config"
	"octet/data"
	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/models/llama/plan"
	"octet/nn"
	"octet/optim"
	"octet/parallel"
	"octet/tensor"
)

// Job is one rank's part of a run.
type Job struct {
	Run    *plan.Run // resolved for the size of World
	Device device.Device
	World  comm.Comm
	Log    *zap.Logger
	// PeakFLOPS is what the rank's device can compute at most, FLOP/s, for mfu;
	// 0 if not known.
	PeakFLOPS float64
	// Record gets every collective of the rank; nil where nobody reads it.
	Record *record.Log
}

// Trainer is the state of a run on one rank.
type Trainer struct {
	cfg  *config.Config
	log  *zap.Logger
	comm comm.Comm // of all ranks, for work on the compute stream
	sent *record.Log

	model *parallel.Model
	adam  *optim.Adam
	lr    optim.Schedule
	step  int

	loader *data.Loader
	next   reading

	micro []microbatch // of a step, on the device

	validation *validator // nil: not asked for
	watch      *fp8.Watch // of the casts; nil: not asked for
}

// microbatch is the memory of one: int32 [B,S] each.
type microbatch struct {
	ids, targets *tensor.Tensor
}

// New builds the model, shards it and gives it its first weights. All ranks of
// the job must call it.
func New(j Job) (*Trainer, error) {
	cfg := j.Run.Config
	rank, world := j.World.Rank(), j.World.Size()
	if world != j.Run.Ranks {
		return nil, fmt.Errorf("train: the run is resolved for %d ranks, the communicator has %d", j.Run.Ranks, world)
	}
	sent := j.Record
	if sent == nil {
		sent = &record.Log{}
	}
	t := &Trainer{cfg: cfg, log: j.Log, comm: record.New(j.World, sent), sent: sent}
	model, err := j.Run.Build()
	if err != nil {
		return nil, err
	}
	if t.model, err = j.Run.Plan.Shard(model, t.comm, j.Device); err != nil {
		return nil, err
	}
	if t.loader, err = j.Run.OpenData(data.Training, rank); err != nil {
		return nil, err
	}
	t.next = newReading(t.loader, cfg.Microbatches(world))
	if err := t.initWeights(j.Run); err != nil {
		return nil, err
	}
	if err := t.allocate(j.Device); err != nil {
		return nil, err
	}
	if cfg.Debug.Float8Stats {
		t.watch = fp8.NewWatch(t.model.Root())
	}
	if cfg.Validation.Enable {
		if t.validation, err = newValidator(j.Run, rank, t.model.Ctx().Pool.Lasting()); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// initWeights loads the weights that the configuration names, or draws them.
// Each rank makes only its own rows; they are those of the whole parameter.
func (t *Trainer) initWeights(run *plan.Run) error {
	w, err := run.OpenWeights(t.model.Params())
	if err != nil {
		return err
	}
	if w != nil {
		if len(w.Unused) > 0 && t.comm.Rank() == 0 {
			t.log.Warn(fmt.Sprintf("%s: not of the model, so left out: %s", w.What, strings.Join(w.Unused, ", ")))
		}
		return t.model.Load(func(s device.Stream, _ []*nn.Param) error {
			return errors.Join(w.Load(s), w.Close())
		})
	}
	return t.model.Init(uint64(t.cfg.Debug.Seed))
}

func (t *Trainer) allocate(dev device.Device) (err error) {
	c, o := t.model.Ctx(), t.cfg.Optimizer
	if t.adam, err = optim.NewAdam(dev, c.Stream, t.model.Params(), optim.AdamOptions{
		Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps, WeightDecay: o.WeightDecay, L2: o.Name == "Adam",
	}); err != nil {
		return err
	}
	l := t.cfg.LRScheduler
	t.lr = optim.Schedule{Warmup: l.WarmupSteps, Total: t.cfg.TotalSteps(), DecayRatio: l.DecayRatio, Type: l.DecayType, MinFactor: l.MinLRFactor}
	for range t.next.batches {
		t.micro = append(t.micro, newMicrobatch(c.Pool.Lasting(), t.cfg.Training.LocalBatchSize, t.cfg.Training.SeqLen))
	}
	return nil
}

func newMicrobatch(pool *device.Pool, batch, seqLen int) microbatch {
	return microbatch{pool.New(dtype.Int32, batch, seqLen), pool.New(dtype.Int32, batch, seqLen)}
}

// upload copies a batch to the device.
func (m microbatch) upload(s device.Stream, b *data.Batch) {
	s.Upload(m.ids, device.Int32Bytes(b.Inputs))
	s.Upload(m.targets, device.Int32Bytes(b.Targets))
}

// Peak is how many bytes activations, and what is gathered and reduced, took at most so far.
func (t *Trainer) Peak() (activations, units int) { return t.model.Peak() }

// Plan is what is applied to the model, sharded how, sending how much.
func (t *Trainer) Plan() string { return t.model.Plan() }

// Conversion is the table of linear layers and how each computes.
func (t *Trainer) Conversion() string { return fp8.Report(t.model.Root()) }

// Close ends the data loaders. Memory belongs to the device.
func (t *Trainer) Close() error {
	err := t.loader.Close()
	if t.validation != nil {
		err = errors.Join(err, t.validation.loader.Close())
	}
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}
