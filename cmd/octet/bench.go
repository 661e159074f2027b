// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"octet/backend"
	"octet/backend/bench"
	"octet/metrics"
)

// benchmark is a line of the table of what octet bench measures.
type benchmark struct {
	name, help string
	// declare declares the benchmark's own flags, and returns what runs it when they
	// have been read.
	declare func(f *benchFlags) func(ctx context.Context, out bench.Output) error
}

func benchmarks() []benchmark {
	return []benchmark{
		{"matmul", "the three products of a linear layer in float8, bf16 and float32", benchMatMul},
		{"linear", "a linear layer forward and backward in each float8 recipe, beside bf16", benchLinear},
		{"padding", "products of sizes that float8 matmuls of GPUs refuse, padded", benchPadding},
		{"multi", "a step of 20 linear layers that are sharded over ranks, in float8 and in bf16", benchMulti},
		{"recipes", "the debug model trained in bf16 and in each float8 recipe: losses, speed, what casts lose", benchRecipes},
		{"step", "a step of octet train: what its time goes to, kernel by kernel, beside what the device can do", benchStep},
		{"roofline", "a linear layer beside what its arithmetic and its bytes must take", benchRoofline},
	}
}

// benchFlags are the flags of a benchmark; those that all have are here.
type benchFlags struct {
	*pflag.FlagSet
	device  backend.Options
	effort  bench.Effort
	csvFile string
	idle    map[string]string // flags of torchao's that have no effect here, and why
	counts  []string          // flags that are 1 at least

	takesKeys bool // after the flags, as octet train does
}

// runBench is `octet bench`.
func runBench(ctx context.Context, args []string) error {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	for _, b := range benchmarks() {
		if b.name == name {
			return b.run(ctx, args[1:], os.Stdout)
		}
	}
	var names []string
	for _, b := range benchmarks() {
		names = append(names, b.name)
	}
	if name == "--help" || name == "-h" {
		fmt.Print("usage: octet bench <benchmark> [flags], octet bench <benchmark> --help\n\n")
		for _, b := range benchmarks() {
			fmt.Printf("  %-10s %s\n", b.name, b.help)
		}
		return nil
	}
	return usageError{fmt.Errorf("bench: %q: want one of %s", name, strings.Join(names, ", "))}
}

func (b benchmark) run(ctx context.Context, args []string, to io.Writer) (err error) {
	f := &benchFlags{FlagSet: pflag.NewFlagSet("octet bench "+b.name, pflag.ContinueOnError), effort: bench.DefaultEffort(), idle: map[string]string{}}
	f.IntVar(&f.device.Threads, "threads", 1, "threads that compute")
	f.StringVar(&f.device.ISA, "isa", "", "instruction set: portable, avx2, avx512, avx512fp16, avx512bf16, amxbf16 (default: the best)")
	f.StringVarP(&f.csvFile, "out_filename", "o", "", "file for all columns, as CSV")
	run := b.declare(f)
	keys := ""
	if f.takesKeys {
		keys = " [-- keys of octet train]"
	}
	f.Usage = func() {
		fmt.Fprintf(to, "usage: octet bench %s [flags]%s: %s\n\n%s", b.name, keys, b.help, f.FlagUsages())
	}
	if err := f.Parse(args); errors.Is(err, pflag.ErrHelp) {
		return nil
	} else if err != nil {
		if f.takesKeys {
			err = keysBehind(err)
		}
		return usageError{fmt.Errorf("bench %s: %w", b.name, err)}
	}
	if err := f.check(); err != nil {
		return fmt.Errorf("bench %s: %w", b.name, err)
	}
	bar := &rowBar{to: to, last: time.Now()}
	defer func() { err = errors.Join(err, bar.Close()) }()
	out := bench.Output{Text: bar, Progress: bar.progress}
	if f.csvFile != "" {
		file, err := os.Create(f.csvFile)
		if err != nil {
			return fmt.Errorf("bench %s: --out_filename: %w", b.name, err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		out.CSV = file
	}
	for name, why := range f.idle {
		if f.Changed(name) {
			fmt.Fprintf(bar, "--%s has no effect: %s\n", name, why)
		}
	}
	if err := run(ctx, out); err != nil {
		return fmt.Errorf("bench %s: %w", b.name, err)
	}
	return nil
}

// keysBehind adds to the error of a flag that a command has not where keys of octet train stand on its line.
func keysBehind(err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		return fmt.Errorf("%w; keys of octet train, as --config or --training.steps, stand behind --", unknown)
	}
	return err
}

// count declares a flag for a number that is 1 at least.
func (f *benchFlags) count(to *int, name string, standard int, help string) {
	f.IntVar(to, name, standard, help)
	f.counts = append(f.counts, name)
}

// check looks at the flags that have been read.
func (f *benchFlags) check() error {
	if f.NArg() > 0 && !f.takesKeys {
		return fmt.Errorf("%q: it takes flags alone", f.Args())
	}
	if err := checkThreads(f.device.Threads); err != nil {
		return err
	}
	for _, name := range f.counts {
		if n, _ := f.GetInt(name); n < 1 { // declared by count, so it is an int
			return fmt.Errorf("--%s %d: want 1 or more", name, n)
		}
	}
	if f.effort.Time <= 0 {
		return fmt.Errorf("--time %v: want more than 0", f.effort.Time)
	}
	return nil
}

// rowBar writes rows above a progress bar, which is there on a terminal alone.
type rowBar struct {
	to   io.Writer
	bar  *metrics.Progress // nil until it is known how many rows there will be
	last time.Time
}

func (b *rowBar) Write(text []byte) (int, error) {
	if b.bar == nil {
		return b.to.Write(text)
	}
	return b.bar.Write(text)
}

func (b *rowBar) progress(done, total int) {
	if b.bar == nil {
		b.bar = metrics.NewProgress(b.to, total, 0)
	}
	now := time.Now()
	b.bar.Step(metrics.Record{Step: done, StepMS: now.Sub(b.last).Seconds() * 1e3})
	b.last = now
}

func (b *rowBar) Close() error {
	if b.bar == nil {
		return nil
	}
	return b.bar.Close()
}
