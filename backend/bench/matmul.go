// SPDX-License-Identifier: Apache-2.0

// Package bench measures how fast a device multiplies matrices, against its peak:
// what `octet bench` prints.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"octet/backend"
	"octet/device"
	"octet/dtype"
	"octet/internal/rng"
	"octet/tensor"
)

// Shape is (M,K,N) of a linear layer's output X[M,K]·W[N,K]ᵀ.
type Shape struct{ M, K, N int }

// ParseShape reads MxKxN.
func ParseShape(text string) (s Shape, err error) {
	_, err = fmt.Sscanf(text, "%dx%dx%d", &s.M, &s.K, &s.N)
	if err != nil || min(s.M, s.K, s.N) < 1 || fmt.Sprintf("%dx%dx%d", s.M, s.K, s.N) != text {
		return s, fmt.Errorf("%q is not a shape; write MxKxN, such as 2048x256x768", text)
	}
	return s, nil
}

// kind is a type of operands, and of the result as training has it.
type kind struct {
	name         string
	operand, out dtype.Type
}

var kinds = []kind{
	{"f32", dtype.Float32, dtype.Float32},
	{"bf16", dtype.BFloat16, dtype.BFloat16},
	{"float8", dtype.Float8E4M3, dtype.BFloat16},
}

// product is one of the three products of a linear layer.
type product struct {
	name    string
	options device.MatMulOptions
	dst     *tensor.Tensor
	a, b    tensor.Operand
	best    time.Duration
}

// linearProducts makes X [M,K], W [N,K] and dY [M,N] of a type (dY is e5m2
// where the others are e4m3), and the products of them.
func linearProducts(s device.Stream, pool *device.Pool, t kind, shape Shape) []*product {
	m, k, n, grad := shape.M, shape.K, shape.N, t.operand
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
	return []*product{
		{name: "output", options: device.MatMulOptions{TransB: true, FastAccum: true}, dst: pool.New(t.out, m, n), a: x, b: w},
		{name: "grad_input", dst: pool.New(t.out, m, k), a: dy, b: w},
		{name: "grad_weight", options: device.MatMulOptions{TransA: true}, dst: pool.New(dtype.Float32, n, k), a: dy, b: x},
	}
}

// MatMul prints a table of the three products of a linear layer of each shape, in each
// type, on the device of o. It spends that time on each product, all types together;
// the best run counts.
func MatMul(ctx context.Context, w io.Writer, o backend.Options, shapes []Shape, spend time.Duration) error {
	dev, err := backend.OpenDevice(o)
	if err != nil {
		return err
	}
	peak, cores := dev.Peak(dtype.Float32), float64(max(1, o.Threads))
	fmt.Fprintf(w, "peak of a core in GFLOP/s, in the unit for each type: f32 %.0f, bf16 %.0f, float8 %.0f\n",
		peak/cores/1e9, dev.Peak(dtype.BFloat16)/cores/1e9, dev.Peak(dtype.Float8E4M3)/cores/1e9)
	if err := dev.Close(); err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "M\tK\tN\tproduct\ttype\tGFLOP/s\t% of f32 peak\tratio to f32\t")
	for _, shape := range shapes {
		if err := measure(ctx, table, o, shape, peak, spend); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	return table.Flush()
}

// measure prints the rows of one shape. The types of a product are measured
// in turns, so that their ratios hold on a machine that does other work as well.
func measure(ctx context.Context, w io.Writer, o backend.Options, shape Shape, peak float64, spend time.Duration) (err error) {
	dev, err := backend.OpenDevice(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	s, pool := dev.NewStream("bench"), device.NewPool(dev)
	var byType [][]*product
	for _, t := range kinds {
		byType = append(byType, linearProducts(s, pool, t, shape))
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
		for j, t := range kinds {
			p := byType[j][i]
			rate := 2 * float64(shape.M) * float64(shape.K) * float64(shape.N) / p.best.Seconds()
			fmt.Fprintf(w, "%d\t%d\t%d\t%s\t%s\t%.0f\t%.0f\t%.2f\t\n", shape.M, shape.K, shape.N, p.name, t.name, rate/1e9, 100*rate/peak, f32/p.best.Seconds())
		}
	}
	return nil
}

// batch is how many products are timed as one, so that handing work to a
// stream and waiting for it count as little as they do in training.
const batch = 4

// run times a batch, and keeps the best time of a product.
func (p *product) run(s device.Stream) error {
	if err := s.Sync(); err != nil {
		return err
	}
	start := time.Now()
	for range batch {
		s.MatMul(p.dst, p.a, p.b, p.options)
	}
	if err := s.Sync(); err != nil {
		return err
	}
	if took := time.Since(start) / batch; p.best == 0 || took < p.best {
		p.best = took
	}
	return nil
}
