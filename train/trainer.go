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

	"octet/comm"
	"octet/comm/record"
	"octet/config"
	"octet/data"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
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

	plan    parallel.Plan
	model   nn.Module
	sharded *fsdp.FSDP
	scales  fp8.Scales // of weights that travel as float8
	ctx     *nn.Ctx
	adam    *optim.Adam
	clip    *optim.Clipper
	lr      optim.Schedule
	step    int

	loader *data.Loader
	next   reading

	micro []microbatch   // of a step, on the device
	count *tensor.Tensor // int32 [1]: targets of all ranks and microbatches
	scale *tensor.Tensor // float32 [1]: 1/count
	loss  *tensor.Tensor // float32 [1]
	host  results

	validation *validator // nil: not asked for
}

// microbatch is the memory of one: int32 [B,S] each.
type microbatch struct {
	ids, targets *tensor.Tensor
}

// results is where a step's numbers arrive on the host.
type results struct {
	loss, norm [1]float32
	count      [1]int32
}

// New builds the model, shards it and gives it its first weights. All ranks of
// the job must call it.
func New(j Job) (*Trainer, error) {
	cfg := j.Run.Config
	world := j.World.Size()
	if world != j.Run.Ranks {
		return nil, fmt.Errorf("train: the run is resolved for %d ranks, the communicator has %d", j.Run.Ranks, world)
	}
	mesh, err := dtensor.NewMesh(world, dtensor.Axis{Name: "fsdp", Size: cfg.ShardDegree(world)})
	if err != nil {
		return nil, err
	}
	sent := j.Record
	if sent == nil {
		sent = &record.Log{}
	}
	t := &Trainer{cfg: cfg, log: j.Log, comm: record.New(j.World, sent), sent: sent, plan: j.Run.Plan}
	if t.model, err = j.Run.Build(); err != nil {
		return nil, err
	}
	_, color, key := mesh.Group(j.World.Rank(), "fsdp")
	group, err := t.comm.Split(color, key)
	if err != nil {
		return nil, err
	}
	if named, ok := group.(comm.Control); ok {
		named.SetName("fsdp")
	}
	if t.sharded, err = t.plan.Shard(&t.model, group); err != nil {
		return nil, err
	}
	t.scales = fp8.ScalesOf(t.model)
	if t.loader, err = j.Run.OpenData(data.Training, j.World.Rank()); err != nil {
		return nil, err
	}
	t.next = newReading(t.loader, cfg.Microbatches(world))
	if err := t.allocate(j.Device); err != nil {
		return nil, err
	}
	if cfg.Validation.Enable {
		if t.validation, err = newValidator(j.Run, j.World.Rank(), t.ctx.Pool); err != nil {
			return nil, err
		}
	}
	if err := t.initWeights(j.Run); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Trainer) allocate(dev device.Device) (err error) {
	s := dev.NewStream("compute")
	pool := device.NewPool(dev)
	t.ctx = &nn.Ctx{Stream: s, Pool: pool, Tape: &nn.Tape{}, Act: t.plan.FSDP.Param}
	if err := t.sharded.Allocate(dev); err != nil {
		return err
	}
	o := t.cfg.Optimizer
	params := t.sharded.Params()
	if t.adam, err = optim.NewAdam(dev, s, params, optim.AdamOptions{
		Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps, WeightDecay: o.WeightDecay, L2: o.Name == "Adam",
	}); err != nil {
		return err
	}
	t.clip = optim.NewClipper(pool, params)
	l := t.cfg.LRScheduler
	t.lr = optim.Schedule{Warmup: l.WarmupSteps, Total: t.cfg.TotalSteps(), DecayRatio: l.DecayRatio, Type: l.DecayType, MinFactor: l.MinLRFactor}
	for range t.next.batches {
		t.micro = append(t.micro, newMicrobatch(pool, t.cfg.Training.LocalBatchSize, t.cfg.Training.SeqLen))
	}
	t.loss, t.scale, t.count = pool.New(dtype.Float32, 1), pool.New(dtype.Float32, 1), pool.New(dtype.Int32, 1)
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

// Params are the rank's parameters.
func (t *Trainer) Params() []*nn.Param { return t.sharded.Params() }

// Plan is what is applied to the model, sharded how, sending how much.
func (t *Trainer) Plan() string { return t.plan.String() + t.sharded.Plan() }

// Conversion is the table of linear layers and how each computes.
func (t *Trainer) Conversion() string { return fp8.Report(t.model) }

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
