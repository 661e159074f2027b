// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"octet/metrics"
	"octet/metrics/chart"
)

// runPlot is `octet plot`: the loss curves of runs, ended or not, as a picture.
func runPlot(_ context.Context, args []string) error {
	flags := pflag.NewFlagSet("octet plot", pflag.ContinueOnError)
	out := flags.String("out", "loss.svg", "the picture to write: .svg or .png")
	title := flags.String("title", "", "text above the picture")
	flags.Usage = func() {
		fmt.Fprintf(os.Stdout, "usage: octet plot [--out FILE.svg|FILE.png] [--title TEXT] NAME=PATH/metrics.jsonl...\n\n%s", flags.FlagUsages())
	}
	if err := flags.Parse(args); errors.Is(err, pflag.ErrHelp) {
		return nil
	} else if err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	to, err := pictureAt("out", *out)
	if err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	if flags.NArg() == 0 {
		return errors.New("plot: no run given; name each as NAME=PATH/metrics.jsonl")
	}
	curves := chart.Chart{Title: *title}
	for _, arg := range flags.Args() {
		name, path, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return fmt.Errorf("plot: %q names no run; write NAME=PATH/metrics.jsonl", arg)
		}
		records, err := metrics.Read(path)
		if err != nil {
			return fmt.Errorf("plot: run %s: %w", name, err)
		}
		curves.Runs = append(curves.Runs, chart.Run{Name: name, Records: records})
	}
	if err := to.write(curves); err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	return nil
}
