// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"octet/backend/bench"
	"octet/metrics/chart"
)

func benchStep(f *benchFlags) func(context.Context, bench.Output) error {
	o := bench.StepOptions{}
	f.count(&o.Ranks, "ranks", 2, "ranks, each a goroutine with a device of its own")
	f.IntVar(&o.Warmup, "warmup", 3, "steps before those that count")
	f.count(&o.Steps, "steps", 8, "steps that are timed kernel by kernel, of which the faster half counts, and as many that are not, in turns")
	title := f.String("title", "A training step", "text above the picture")
	picture := f.String("plot", "", "picture of what the step's time went to: .svg or .png")
	f.takesKeys = true
	return func(ctx context.Context, out bench.Output) error {
		format, err := pictureFormat(*picture)
		if err != nil {
			return err
		}
		if o.Warmup < 0 {
			return fmt.Errorf("--warmup %d: want 0 or more", o.Warmup)
		}
		o.Device, o.Keys, o.Log = f.device, f.Args(), out.Text
		p, err := bench.Step(ctx, out, o)
		if err != nil || *picture == "" {
			return err
		}
		return writePicture(*picture, p.Bars(*title), format)
	}
}

// pictureFormat is that of the file --plot names; none if it is empty.
func pictureFormat(path string) (chart.Format, error) {
	format := chart.Format(filepath.Ext(path))
	if path != "" && format != chart.SVG && format != chart.PNG {
		return "", fmt.Errorf("--plot %s: a picture is SVG or PNG, so its name ends in .svg or .png", path)
	}
	return format, nil
}

// writePicture draws before it touches the file.
func writePicture(path string, p chart.Picture, format chart.Format) error {
	var file bytes.Buffer
	if err := p.Write(&file, format); err != nil {
		return err
	}
	return os.WriteFile(path, file.Bytes(), 0o644)
}
