// SPDX-License-Identifier: Apache-2.0

package train

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"octet/comm"
	"octet/device"
	"octet/metrics"
	"octet/metrics/tensorboard"
	"octet/models/llama/plan"
)

// Run trains for the configured number of steps. Whatever ends it early, an
// error, a panic or ctx, aborts the job's communicators with that cause, so
// that no other rank waits for this one.
func Run(ctx context.Context, j Job, sink metrics.Sink) (err error) {
	defer func() {
		p := recover()
		if full, ok := p.(*device.OutOfMemory); ok {
			err = fmt.Errorf("train: %w", full)
		} else if p != nil {
			err = fmt.Errorf("train: panic: %v\n%s", p, debug.Stack())
		}
		if err != nil {
			j.World.Abort(err)
		}
	}()
	stop := context.AfterFunc(ctx, func() { j.World.Abort(context.Cause(ctx)) })
	defer stop()

	deadline(j.World, j.Run.Config.Comm.InitTimeoutSeconds)
	t, err := New(j)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if err := t.describe(j); err != nil {
		return err
	}
	if t.step >= t.cfg.Training.Steps {
		t.warn(fmt.Sprintf("training.steps = %d are done: nothing is left to do", t.cfg.Training.Steps))
	}
	if t.saver != nil && t.cfg.Checkpoint.CreateSeedCheckpoint {
		return errors.Join(t.saveSeed(), t.model.Sync())
	}
	for first := true; t.step < t.cfg.Training.Steps && !t.stopping; first = false {
		if err := t.profiler.before(t.step + 1); err != nil {
			return err
		}
		record, err := t.Step()
		if err != nil {
			return err
		}
		if err := t.profiler.after(t.step); err != nil {
			return err
		}
		if t.due() {
			if record.Validation, err = t.Validate(); err != nil {
				return err
			}
		}
		t.alive()
		sink.Step(record)
		if err := t.save(); err != nil {
			return err
		}
		if first {
			deadline(j.World, j.Run.Config.Comm.TrainTimeoutSeconds)
		}
	}
	if t.step < t.cfg.Training.Steps {
		t.warn(fmt.Sprintf("stopped by a signal after step %d of %d, which is saved: the same command goes on from there", t.step, t.cfg.Training.Steps))
	}
	return t.model.Sync()
}

func deadline(c comm.Comm, seconds int) {
	if c, ok := c.(comm.Control); ok {
		c.SetTimeout(time.Duration(seconds) * time.Second)
	}
}

// describe logs what is about to run; rank 0 speaks for all.
func (t *Trainer) describe(j Job) error {
	if t.comm.Rank() != 0 {
		return nil
	}
	for _, note := range slices.Concat(t.cfg.Notes, j.Run.Notes) {
		t.log.Warn(note)
	}
	world := t.comm.Size()
	c := t.cfg.Training
	t.log.Info(fmt.Sprintf("%s: %s %s, %d parameters, on %d ranks of %s",
		t.cfg.Job.Description, t.cfg.Model.Name, t.cfg.Model.Flavor, j.Run.Args.Params(), world, j.Device.Name()))
	t.log.Info(fmt.Sprintf("local batch %d, global batch %d, %d microbatches, sequence %d, %d steps, %s",
		c.LocalBatchSize, t.cfg.GlobalBatchSize(world), t.cfg.Microbatches(world), c.SeqLen, c.Steps, c.Dataset))
	t.log.Info(fmt.Sprintf("data: %s; the run reads it %.3g times", t.loader.Summary(), t.loader.Epochs(c.Steps*len(t.micro))))
	travels, err := j.Run.Travels()
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	if travels != "" {
		t.log.Info("a step's collectives: " + travels)
	}
	if t.cfg.Model.PrintAfterConversion {
		t.log.Info("linear layers\n" + strings.TrimSpace(t.Conversion()))
	}
	if t.cfg.Debug.PrintPlan {
		costs, err := j.Run.Costs()
		if err != nil {
			return fmt.Errorf("train: %w", err)
		}
		t.log.Info("plan\n" + strings.TrimSpace(t.Plan()+costs))
	}
	return nil
}

// NewSink is what rank 0 reports to: metrics.jsonl in its dump folder, the
// console, on a terminal a progress bar and, where it is asked for, TensorBoard. Other ranks report nothing and
// have no folder.
func NewSink(j Job, folder *metrics.Folder, bar *metrics.Progress) (metrics.Sink, error) {
	if j.World.Rank() != 0 {
		return metrics.Tee(), nil
	}
	cfg := j.Run.Config
	file, err := folder.Append(metrics.FileName)
	if err != nil {
		return nil, err
	}
	steps := metrics.NewJSONL(file, func(text string) { j.Log.Warn(text) })
	options := metrics.ConsoleOptions{
		LogFreq:       cfg.Metrics.LogFreq,
		FLOPsPerToken: metrics.FLOPsPerToken(ModelSize(j.Run)),
		PeakFLOPS:     j.PeakFLOPS,
		MemoryTotal:   metrics.MachineMemory(),
	}
	if bar.Columns() > 0 {
		options.Color = !cfg.Metrics.DisableColorPrinting
		options.Columns = func() int { return bar.Columns() - metrics.MarkWidth }
	}
	sinks := []metrics.Sink{steps, metrics.NewConsole(j.Log, options), bar}
	if cfg.Debug.Float8Stats {
		casts, err := folder.Append(metrics.CastsFileName)
		if err != nil {
			return nil, errors.Join(err, steps.Close())
		}
		sinks = append(sinks, metrics.NewCasts(casts))
	}
	if cfg.Metrics.EnableTensorBoard {
		board, err := newBoard(j, folder, options)
		if err != nil {
			return nil, errors.Join(err, metrics.Tee(sinks...).Close())
		}
		sinks = append(sinks, board)
	}
	return metrics.Tee(sinks...), nil
}

// newBoard is an event file of TensorBoard's in the dump folder, beside those of earlier attempts.
func newBoard(j Job, folder *metrics.Folder, o metrics.ConsoleOptions) (metrics.Sink, error) {
	path, err := folder.Subfolder(j.Run.Config.Metrics.SaveTBFolder)
	if err != nil {
		return nil, err
	}
	return tensorboard.Create(path, tensorboard.Options{
		LogFreq: o.LogFreq, FLOPsPerToken: o.FLOPsPerToken, PeakFLOPS: o.PeakFLOPS, MemoryTotal: o.MemoryTotal,
	}, func(text string) { j.Log.Warn(text) })
}

// ModelSize is what the arithmetic of a token depends on.
func ModelSize(run *plan.Run) metrics.ModelSize {
	args := run.Args
	lookedUp := args.Embedding()
	if args.Tied {
		lookedUp = 0 // the output multiplies by the same table
	}
	return metrics.ModelSize{
		Params: args.Params(), EmbeddingParams: lookedUp, Layers: args.Layers, Heads: args.Heads, HeadDim: args.HeadDim(), SeqLen: run.Config.Training.SeqLen,
	}
}
