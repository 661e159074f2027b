// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"octet/backend"
	"octet/device"
	"octet/dtype"
	"octet/internal/rng"
	"octet/tensor"
)

// llamaShapes are (M,K,N) of X[M,K]·W[N,K]ᵀ: the debug model's attention and
// feed-forward, a square, and a rank's share of a 70B (torchao's
// bench_linear_float8, fewer tokens).
var llamaShapes = []string{"2048x256x256", "2048x256x768", "2048x768x256", "1024x1024x1024", "2048x1024x8192", "2048x8192x1280"}

// runBench is `octet bench matmul`: how fast the three products of a linear
// layer are in each type, against the peak of the processor.
func runBench(ctx context.Context, args []string) error {
	flags := pflag.NewFlagSet("octet bench", pflag.ContinueOnError)
	shapes := flags.StringSlice("shapes", llamaShapes, "MxKxN of the output product, separated by commas")
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
	if flags.NArg() != 1 || flags.Arg(0) != "matmul" {
		return fmt.Errorf("bench: %q: the benchmark there is, is matmul", flags.Args())
	}
	if *threads < 1 {
		return fmt.Errorf("bench: --threads %d: want 1 or more", *threads)
	}
	if *spend <= 0 {
		return fmt.Errorf("bench: --time %v: want more than 0", *spend)
	}
	var list [][3]int
	for _, name := range *shapes {
		shape, err := parseShape(name)
		if err != nil {
			return err
		}
		list = append(list, shape)
	}
	return benchMatMul(ctx, os.Stdout, backend.Options{Threads: *threads, ISA: *isa}, list, *spend)
}

func parseShape(text string) (shape [3]int, err error) {
	parts := strings.Split(text, "x")
	ok := len(parts) == len(shape)
	for i := 0; ok && i < len(shape); i++ {
		shape[i], err = strconv.Atoi(parts[i])
		ok = err == nil && shape[i] > 0
	}
	if !ok {
		return shape, fmt.Errorf("bench: --shapes: %q is not a shape; write MxKxN, such as 2048x256x768", text)
	}
	return shape, nil
}

// benchType is a type of operands, and of the result as training has it.
type benchType struct {
	name         string
	operand, out dtype.Type
}

var benchTypes = []benchType{
	{"f32", dtype.Float32, dtype.Float32},
	{"bf16", dtype.BFloat16, dtype.BFloat16},
	{"float8", dtype.Float8E4M3, dtype.BFloat16},
}

// benchProduct is one of the three products of a linear layer.
type benchProduct struct {
	name    string
	options device.MatMulOptions
	dst     *tensor.Tensor
	a, b    tensor.Operand
	best    time.Duration
}

// linearProducts makes X [M,K], W [N,K] and dY [M,N] of a type (dY is e5m2
// where the others are e4m3), and the products of them.
func linearProducts(s device.Stream, pool *device.Pool, t benchType, m, k, n int) []*benchProduct {
	grad := t.operand
	if t.operand == dtype.Float8E4M3 {
		grad = dtype.Float8E5M2
	}
	operand := func(typ dtype.Type, name string, rows, cols int) tensor.Operand {
		normal := make([]float32, rows*cols)
		rng.New(0, name).Normal(normal, 0, 0, 1)
		src := pool.New(dtype.Float32, rows, cols)
		s.Upload(src, device.Float32Bytes(normal))
		o := tensor.Operand{Tensor: pool.New(typ, rows, cols)}
		if typ.IsFloat8() {
			o.Scale, o.Inv = pool.New(dtype.Float32), pool.New(dtype.Float32)
			s.DynamicCast(o, tensor.Operand{}, tensor.Operand{Tensor: src}, false)
		} else {
			s.Copy(o.Tensor, src)
		}
		pool.Free(src)
		return o
	}
	x, w, dy := operand(t.operand, "x", m, k), operand(t.operand, "w", n, k), operand(grad, "dy", m, n)
	return []*benchProduct{
		{name: "output", options: device.MatMulOptions{TransB: true, FastAccum: true}, dst: pool.New(t.out, m, n), a: x, b: w},
		{name: "grad_input", dst: pool.New(t.out, m, k), a: dy, b: w},
		{name: "grad_weight", options: device.MatMulOptions{TransA: true}, dst: pool.New(dtype.Float32, n, k), a: dy, b: x},
	}
}

// benchMatMul prints a table.
func benchMatMul(ctx context.Context, w io.Writer, o backend.Options, shapes [][3]int, spend time.Duration) error {
	dev, err := backend.OpenDevice(o)
	if err != nil {
		return err
	}
	peak, cores := dev.Peak(dtype.Float32), float64(o.Threads)
	fmt.Fprintf(w, "peak of a core in GFLOP/s, in the unit for each type: f32 %.0f, bf16 %.0f, float8 %.0f\n",
		peak/cores/1e9, dev.Peak(dtype.BFloat16)/cores/1e9, dev.Peak(dtype.Float8E4M3)/cores/1e9)
	if err := dev.Close(); err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "M\tK\tN\tproduct\ttype\tGFLOP/s\t% of f32 peak\tratio to f32\t")
	for _, shape := range shapes {
		if err := benchShape(ctx, table, o, shape, peak, spend); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	return table.Flush()
}

// benchShape prints the rows of one shape. The types of a product are measured
// in turns, so that their ratios hold on a machine that does other work as well.
func benchShape(ctx context.Context, w io.Writer, o backend.Options, shape [3]int, peak float64, spend time.Duration) (err error) {
	dev, err := backend.OpenDevice(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	m, k, n := shape[0], shape[1], shape[2]
	s, pool := dev.NewStream("bench"), device.NewPool(dev)
	var byType [][]*benchProduct
	for _, t := range benchTypes {
		byType = append(byType, linearProducts(s, pool, t, m, k, n))
	}
	for i := range byType[0] {
		for start := time.Now(); time.Since(start) < spend; {
			for _, products := range byType {
				if err := products[i].run(s); err != nil {
					return err
				}
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		f32 := byType[0][i].best.Seconds()
		for j, t := range benchTypes {
			p := byType[j][i]
			rate := 2 * float64(m) * float64(k) * float64(n) / p.best.Seconds()
			fmt.Fprintf(w, "%d\t%d\t%d\t%s\t%s\t%.0f\t%.0f\t%.2f\t\n", m, k, n, p.name, t.name, rate/1e9, 100*rate/peak, f32/p.best.Seconds())
		}
	}
	return nil
}

// benchBatch is how many products are timed as one, so that handing work to a
// stream and waiting for it count as little as they do in training.
const benchBatch = 4

// run times a batch, and keeps the best time of a product.
func (p *benchProduct) run(s device.Stream) error {
	if err := s.Sync(); err != nil {
		return err
	}
	start := time.Now()
	for range benchBatch {
		s.MatMul(p.dst, p.a, p.b, p.options)
	}
	if err := s.Sync(); err != nil {
		return err
	}
	if took := time.Since(start) / benchBatch; p.best == 0 || took < p.best {
		p.best = took
	}
	return nil
}
