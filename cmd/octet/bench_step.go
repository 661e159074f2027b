// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"octet/backend/bench"
)

func benchStep(f *benchFlags) func(context.Context, bench.Output) error {
	o := bench.StepOptions{}
	f.count(&o.Ranks, "ranks", 2, "ranks, each a goroutine with a device of its own")
	f.IntVar(&o.Warmup, "warmup", 3, "steps before those that count")
	f.count(&o.Steps, "steps", 8, "steps that are timed kernel by kernel, of which the faster half counts, and as many that are not, in turns")
	title := f.String("title", "A training step", "text above the picture")
	plot := f.String("plot", "", "picture of what the step's time went to: .svg or .png")
	f.takesKeys = true
	return func(ctx context.Context, out bench.Output) error {
		to, err := plotTo(*plot)
		if err != nil {
			return err
		}
		if o.Warmup < 0 {
			return fmt.Errorf("--warmup %d: want 0 or more", o.Warmup)
		}
		o.Device, o.Keys, o.Log = f.device, f.Args(), out.Text
		p, err := bench.Step(ctx, out, o)
		if err != nil || *plot == "" {
			return err
		}
		return to.write(p.Bars(*title))
	}
}

// plotTo is the picture that --plot names, if it is given.
func plotTo(path string) (picture, error) {
	if path == "" {
		return picture{}, nil
	}
	return pictureAt("plot", path)
}
