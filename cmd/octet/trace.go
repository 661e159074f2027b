// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"octet/backend/bench"
	"octet/device/trace"
)

// runTrace is `octet trace`.
func runTrace(ctx context.Context, args []string) error {
	if err := traceStep(ctx, args, os.Stdout); err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	return nil
}

// traceStep writes a step of training down: what each stream of each rank did, from a run of
// ranks of this process, or what one rank would enqueue, from a device that computes nothing.
func traceStep(ctx context.Context, args []string, to io.Writer) error {
	o := bench.StepOptions{Log: to}
	f := pflag.NewFlagSet("octet trace", pflag.ContinueOnError)
	f.IntVar(&o.Ranks, "ranks", 2, "ranks; without --dry each a goroutine with a device of its own")
	rank := f.Int("rank", 0, "the rank whose schedule is printed")
	dry := f.Bool("dry", false, "compute nothing: print the schedule alone, of any number of ranks")
	schedule := f.Bool("schedule", false, "print the schedule of a run that computes, too")
	f.IntVar(&o.Warmup, "warmup", 3, "steps before the one that is traced")
	f.IntVar(&o.Device.Threads, "threads", 1, "threads that compute, of each rank")
	layout := f.String("layout", "", "compute nothing: draw where the ranks have a block's parameters, and what they send one another for it, into this .svg or .png")
	out := f.StringP("out", "o", "trace.json", "file for the trace, which ui.perfetto.dev opens")
	f.Usage = func() {
		fmt.Fprintf(to, "usage: octet trace [flags] [-- keys of octet train]: a step of training, kernel by kernel\n\n%s", f.FlagUsages())
	}
	if err := f.Parse(args); errors.Is(err, pflag.ErrHelp) {
		return nil
	} else if err != nil {
		return usageError{keysBehind(err)}
	}
	o.Keys = f.Args()
	switch {
	case o.Ranks < 1:
		return fmt.Errorf("--ranks %d: want 1 or more", o.Ranks)
	case *rank < 0 || *rank >= o.Ranks:
		return fmt.Errorf("--rank %d: the ranks are 0 to %d", *rank, o.Ranks-1)
	case o.Warmup < 0:
		return fmt.Errorf("--warmup %d: want 0 or more", o.Warmup)
	}
	if err := checkThreads(o.Device.Threads); err != nil {
		return err
	}
	if f.Changed("layout") {
		for _, name := range []string{"dry", "out", "schedule", "warmup", "threads", "rank"} {
			if f.Changed(name) {
				return fmt.Errorf("--layout --%s: a layout is a picture of all ranks, and nothing runs: leave one of them out", name)
			}
		}
		return drawLayout(*layout, o.Ranks, o.Keys)
	}
	if *dry {
		for _, name := range []string{"out", "schedule", "warmup", "threads"} {
			if f.Changed(name) {
				return fmt.Errorf("--dry --%s: nothing is computed, so there are no times: leave one of them out", name)
			}
		}
		spans, err := bench.Schedule(o, *rank)
		if err != nil {
			return err
		}
		return trace.WriteSchedule(to, spans)
	}
	if err := hasFolder("out", *out); err != nil {
		return err
	}
	ranks, err := bench.Trace(ctx, o)
	if err != nil {
		return err
	}
	if *schedule {
		if err := trace.WriteSchedule(to, ranks[*rank]); err != nil {
			return err
		}
	}
	var file bytes.Buffer
	if err := trace.WriteChrome(&file, ranks); err != nil {
		return err
	}
	return writeFile("out", *out, file.Bytes())
}
