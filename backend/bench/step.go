// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"octet/backend"
	"octet/config"
	"octet/device/trace"
	"octet/dtype"
	"octet/metrics"
	"octet/models/llama/plan"
	"octet/train"
	"octet/train/preflight"
)

// StepOptions are a run of Step.
type StepOptions struct {
	Device backend.Options
	Ranks  int      // each a goroutine with a device of its own
	Warmup int      // steps before those that count
	Steps  int      // that are timed kernel by kernel, and as many that are not, in turns
	Keys   []string // of octet train
	Log    io.Writer
}

// Profile is what a training step's time went to.
type Profile struct {
	On    string // how many ranks of which device
	Lines []Line // of the compute stream, which make up the step, and of those beside it
	// WallMS is a step's time, RooflineMS what the compute stream's kernels would take at
	// the limits.
	WallMS, RooflineMS float64
	// PlainMS is the median time of the steps that were not timed kernel by kernel, Overhead how
	// much longer the others took.
	PlainMS, Overhead float64
	TokensPerS        float64 // of a rank, in the plain steps
	FLOPS, PeakFLOPS  float64 // as the metrics line counts them, and the 100% of its mfu, a second
}

// Step trains with a configuration of octet train, every second step with each kernel
// timed, and writes what a step's time went to: of each kind of kernel, by shape, how long
// it took and how fast it was, beside the fastest that the same ranks at the same time multiply and copy
// at. Of the timed steps the faster half counts; times are means over the ranks.
func Step(ctx context.Context, out Output, o StepOptions) (*Profile, error) {
	run, err := o.resolve(o.Warmup+2*o.Steps, fmt.Sprintf("%d steps to warm up and twice %d to measure", o.Warmup, o.Steps))
	if err != nil {
		return nil, err
	}
	o.Device.Device = run.Config.Device.Name
	if out.Progress != nil {
		out.Progress(0, o.Warmup+2*o.Steps)
	}
	all := make([]rankSteps, o.Ranks)
	if err := backend.Run(ctx, o.Ranks, o.Device, func(r *backend.Rank) error {
		m, err := o.measure(ctx, r, run, func(done int) {
			if out.Progress != nil && r.Rank == 0 {
				out.Progress(done, o.Warmup+2*o.Steps)
			}
		})
		all[r.Rank] = m
		return err
	}); err != nil {
		return nil, err
	}
	p := profile(all)
	p.On = fmt.Sprintf("%d ranks of %s", o.Ranks, all[0].device)
	p.PeakFLOPS = backend.Peak(run.Config, func(t dtype.Type) float64 { return all[0].limits.peaks[t] })
	p.FLOPS = metrics.FLOPsPerToken(train.ModelSize(run)) * p.TokensPerS
	return p, p.write(out, all[0])
}

// resolve checks the configuration as octet train does. The steps that it needs are what for.
func (o StepOptions) resolve(need int, what string) (*plan.Run, error) {
	cfg, err := config.Load(o.Keys)
	if err != nil {
		return nil, err
	}
	if cfg.Training.Steps < need {
		return nil, fmt.Errorf("training.steps = %d: %s want %d at least", cfg.Training.Steps, what, need)
	}
	if cfg.Checkpoint.Enable {
		return nil, errors.New("checkpoint.enable = true: what is measured trains from first weights and saves nothing; add --checkpoint.enable=false")
	}
	memory, err := backend.Memory(cfg.Device.Name, o.Ranks)
	if err != nil {
		return nil, err
	}
	run, err := preflight.Check(cfg, o.Ranks, o.Ranks, memory)
	if err != nil {
		return nil, err
	}
	say := func(text string) { fmt.Fprintln(o.Log, text) }
	return run, errors.Join(preflight.Prepare(run, say), preflight.Scan(run, say))
}

// rankSteps is what one rank has seen.
type rankSteps struct {
	device string
	limits limits
	timed  []timedStep
	plain  []metrics.Record
}

// timedStep is one whose kernels were timed.
type timedStep struct {
	record metrics.Record
	spans  []*trace.Span
}

// measure trains on one rank.
func (o StepOptions) measure(ctx context.Context, r *backend.Rank, run *plan.Run, progress func(done int)) (m rankSteps, err error) {
	m.device = r.Device.Name()
	if err := m.limits.measure(ctx, r); err != nil {
		return m, err
	}
	t, err := openTraced(r, run, o.Log)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	for i := range o.Warmup + 2*o.Steps {
		timed := i >= o.Warmup && (i-o.Warmup)%2 == 0
		var step timedStep
		if timed {
			step, err = t.step(time.Now())
			m.timed = append(m.timed, step)
		} else if step.record, err = t.Step(); err == nil && i >= o.Warmup {
			m.plain = append(m.plain, step.record)
		}
		if err := cmp.Or(err, r.Device.Wait(), ctx.Err()); err != nil {
			return m, err
		}
		progress(i + 1)
	}
	return m, m.limits.measure(ctx, r)
}
