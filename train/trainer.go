// SPDX-License-Identifier: Apache-2.0

// Package train is the step loop: forward, backward, clip, update, report, as
// torchtitan's trainer does it, on one rank of a job.
// Package preflight checks and resolves the run before it. Run trains to the end;
// a Trainer is for those who want to look at every step.
package train

import (
	"errors"
	"fmt"

	"go.uber.org/zap"

	"octet/checkpoint"
	"octet/comm"
	"octet/comm/record"
	"octet/config"
	"octet/data"
	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/metrics"
	"octet/models/llama/plan"
	"octet/optim"
	"octet/parallel"
	"octet/tensor"
	"octet/train/resume"
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
	// GPU is what the rank's GPU does now; nil where it has none. It is asked after each
	// step, on the rank that reports.
	GPU func() (metrics.GPU, error)
	// Contents is what preflight.Contents says of the training data, on rank 0, for its
	// checkpoints to know; nil: not known.
	Contents map[string]string
	// ID is in the names of checkpoints that are being written, Owner in those that are: which
	// run and job wrote them, on rank 0 the same for all attempts of a job.
	ID, Owner string
	// Stop, when it is closed on any rank, has all of them save a checkpoint after the step and end, where
	// they save any. Nil: never.
	Stop <-chan struct{}
	// Alive, where there is one, is called after each step, and now and then while the rank saves, by any
	// goroutine.
	Alive func()
	// Record gets every collective of the rank; nil where nobody reads it.
	Record *record.Log
}

// Trainer is the state of a run on one rank.
type Trainer struct {
	run  *plan.Run
	cfg  *config.Config
	log  *zap.Logger
	comm comm.Comm // of all ranks, for work on the compute stream
	sent *record.Log

	model *parallel.Model
	adam  *optim.Adam
	lr    optim.Schedule

	step, lrStep int   // done; of them the schedule's
	tokens       int64 // trained on, by all ranks

	saver              *checkpoint.Saver // nil: nothing is saved
	copied             device.Event      // what the next update waits for
	stop               <-chan struct{}
	alive              func()
	gpu                func() (metrics.GPU, error) // nil: there is none to ask
	stopping           bool                        // all ranks know that they are to end
	owner, fingerprint string

	loader *data.Loader
	next   reading

	micro []microbatch // of a step, on the device

	validation *validator      // nil: not asked for
	watch      *fp8.Watch      // of the casts; nil: not asked for
	graph      *parallel.Graph // of the passes; nil: not asked for
	profiler   *profiler       // nil: not asked for
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
	t := &Trainer{
		run: j.Run, cfg: cfg, log: j.Log, comm: record.New(j.World, sent), sent: sent,
		owner: j.Owner, fingerprint: j.Contents[resume.DataName], stop: j.Stop, alive: j.Alive,
	}
	if t.alive == nil {
		t.alive = func() {}
	}
	if rank == 0 { // which reports
		t.gpu = j.GPU
	}
	t.profiler = profiled(&j)
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
	if t.profiler != nil {
		t.profiler.idle = t.model.Sync
	}
	t.next = newReading(t.loader, cfg.Microbatches(world))
	if err := t.openSaver(j); err != nil {
		return nil, err
	}
	if err := t.begin(j); err != nil {
		return nil, err
	}
	if cfg.Debug.Float8Stats {
		t.watch = fp8.NewWatch(t.model.Root())
	}
	if cfg.Device.CUDAGraph {
		t.graph = &parallel.Graph{Tell: t.uncaptured, Count: t.counted}
	}
	if cfg.Validation.Enable {
		if t.validation, err = newValidator(j.Run, rank, t.model.Ctx().Pool.Lasting()); err != nil {
			return nil, err
		}
	}
	return t, nil
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

// uncaptured tells that steps are not launched as a graph.
func (t *Trainer) uncaptured(why error) {
	t.log.Warn(fmt.Sprintf("step %d: device.cuda_graph has no effect from here on, which changes no number: %v", t.step, why))
}

// counted counts what passes send, once, and as often as they are launched.
func (t *Trainer) counted(passes func()) (more func(times int)) {
	counts := t.sent.During(passes)
	return func(times int) { t.sent.Add(counts, times) }
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
