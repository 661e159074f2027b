// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"octet/backend"
	"octet/backend/bench"
)

// llamaShapes are the debug model's attention and feed-forward, a square, and a
// rank's share of a 70B (torchao's bench_linear_float8, fewer tokens).
var llamaShapes = []string{"2048x256x256", "2048x256x768", "2048x768x256", "1024x1024x1024", "2048x1024x8192", "2048x8192x1280"}

// runBench is `octet bench matmul`: how fast the three products of a linear
// layer are in each type, against the peak of the processor.
func runBench(ctx context.Context, args []string) error {
	flags := pflag.NewFlagSet("octet bench", pflag.ContinueOnError)
	names := flags.StringSlice("shapes", llamaShapes, "MxKxN of the output product, separated by commas")
	threads := flags.Int("threads", 1, "threads of a product")
	isa := flags.String("isa", "", "instruction set: portable, avx2, avx512, avx512fp16, avx512bf16 (default: the best)")
	spend := flags.Duration("time", time.Second, "time spent on each product, all types; the best run counts")
	flags.Usage = func() {
		fmt.Fprintf(os.Stdout, "usage: octet bench matmul [flags]\n\n%s", flags.FlagUsages())
	}
	if err := flags.Parse(args); errors.Is(err, pflag.ErrHelp) {
		return nil
	} else if err != nil {
		return usageError{fmt.Errorf("bench: %w", err)}
	}
	switch {
	case flags.NArg() != 1 || flags.Arg(0) != "matmul":
		return fmt.Errorf("bench: %q: the benchmark there is, is matmul", flags.Args())
	case *threads < 1:
		return fmt.Errorf("bench: --threads %d: want 1 or more", *threads)
	case *spend <= 0:
		return fmt.Errorf("bench: --time %v: want more than 0", *spend)
	}
	shapes := make([]bench.Shape, len(*names))
	for i, name := range *names {
		var err error
		if shapes[i], err = bench.ParseShape(name); err != nil {
			return fmt.Errorf("bench: --shapes: %w", err)
		}
	}
	return bench.MatMul(ctx, os.Stdout, backend.Options{Threads: *threads, ISA: *isa}, shapes, *spend)
}
