// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"octet/backend"
	"octet/config"
	"octet/device/trace"
	"octet/metrics"
	"octet/models/llama/plan"
	"octet/train"
)

// tracedRank is a trainer whose device notes what it does when it is asked to.
type tracedRank struct {
	*train.Trainer
	rank *backend.Rank
	log  *trace.Log
}

func openTraced(r *backend.Rank, run *plan.Run, log io.Writer) (tracedRank, error) {
	t := tracedRank{rank: r, log: &trace.Log{}}
	var err error
	t.Trainer, err = train.New(train.Job{Run: run, Device: trace.New(r.Device, t.log), World: r.World, Log: metrics.NewLogger(log, r.Rank)})
	return t, err
}

// step trains once, and notes it with times from start on.
func (t tracedRank) step(start time.Time) (step timedStep, err error) {
	t.log.StartAt(start)
	if step.record, err = t.Step(); err == nil {
		err = t.rank.Device.Wait() // what the gathers' stream does for the next step is not that step's
	}
	step.spans = t.log.Stop()
	return step, err
}

// Trace trains o.Warmup steps with a configuration of octet train, and then one, of which it
// returns what each rank's streams did and when, from one beginning of time.
func Trace(ctx context.Context, o StepOptions) (map[int][]*trace.Span, error) {
	run, err := o.resolve(o.Warmup+1, fmt.Sprintf("%d steps to warm up and one to trace", o.Warmup))
	if err != nil {
		return nil, err
	}
	o.Device.Device = run.Config.Device.Name
	all := make([][]*trace.Span, o.Ranks)
	var begun sync.Once
	var start time.Time
	if err := backend.Run(ctx, o.Ranks, o.Device, func(r *backend.Rank) (err error) {
		t, err := openTraced(r, run, o.Log)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, t.Close()) }()
		for range o.Warmup {
			if _, err := t.Step(); err != nil {
				return err
			}
		}
		s := r.Device.NewStream("trace")
		r.World.Barrier(s)
		if err := cmp.Or(s.Sync(), r.Device.Wait()); err != nil {
			return err
		}
		begun.Do(func() { start = time.Now() })
		step, err := t.step(start)
		all[r.Rank] = step.spans
		return err
	}); err != nil {
		return nil, err
	}
	ranks := map[int][]*trace.Span{}
	for r, spans := range all {
		ranks[r] = spans
	}
	return ranks, nil
}

// Schedule is what a rank of the configuration enqueues in a step; nothing is computed, so
// o.Ranks may be any number.
func Schedule(o StepOptions, rank int) ([]*trace.Span, error) {
	cfg, err := config.Load(o.Keys)
	if err != nil {
		return nil, err
	}
	run, err := plan.Resolve(cfg, o.Ranks)
	if err != nil {
		return nil, err
	}
	return run.Schedule(rank)
}
