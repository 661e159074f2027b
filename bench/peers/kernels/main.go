// SPDX-License-Identifier: Apache-2.0

// Command kernels is octet's side of micro.py: the same operations on the same
// shapes, on one core, one JSON line a figure. peers.py puts both in a table.
//
//	go run ./bench/peers/kernels
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"octet/backend"
	"octet/device"
	"octet/dtype"
	"octet/internal/problems"
	"octet/internal/rng"
	"octet/tensor"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
		os.Exit(1)
	}
}

func run(out io.Writer) (err error) {
	dev, err := backend.OpenDevice(backend.Options{Threads: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	b := &bench{pool: device.NewPool(dev), stream: dev.NewStream("bench"), out: json.NewEncoder(out)}
	b.say("peak of FMA, or of the dot product", "f32", "GFLOP/s", dev.Peak(dtype.Float32)/1e9)
	b.say("peak of FMA, or of the dot product", "bf16", "GFLOP/s", dev.Peak(dtype.BFloat16)/1e9)
	for _, shape := range [][3]int{{4096, 256, 768}, {2048, 256, 2048}, {1024, 1024, 1024}, {2048, 1024, 8192}} {
		b.matmuls(shape[0], shape[1], shape[2])
	}
	b.casts(1 << 24)
	b.layers()
	return b.err
}

// bench runs operations on one stream; the first error ends it.
type bench struct {
	pool   *device.Pool
	stream device.Stream
	out    *json.Encoder
	err    error
}

// say prints one figure.
func (b *bench) say(op, dtype, unit string, value float64) {
	if b.err == nil {
		b.err = b.out.Encode(map[string]any{"op": op, "dtype": dtype, "value": value, "unit": unit})
	}
}

// measure prints work per second in giga-units, from the shortest of eight runs
// after one that warms up.
func (b *bench) measure(op, dtype, unit string, work int, f func(s device.Stream)) {
	best := time.Duration(1<<63 - 1)
	for i := range 9 {
		start := time.Now()
		f(b.stream)
		if err := b.stream.Sync(); err != nil {
			b.err = problems.Lines(b.err, fmt.Errorf("%s of %s: %w", op, dtype, err))
			return
		}
		if i > 0 {
			best = min(best, time.Since(start))
		}
	}
	b.say(op, dtype, unit, float64(work)/best.Seconds()/1e9)
}

// normal is a tensor of standard normal values.
func (b *bench) normal(t dtype.Type, shape ...int) *tensor.Tensor {
	x := b.pool.New(dtype.Float32, shape...)
	values := make([]float32, x.Numel())
	rng.New(0, "x").Normal(values, 0, 0, 1)
	b.stream.Upload(x, device.Float32Bytes(values))
	if t == dtype.Float32 {
		return x
	}
	narrow := b.pool.New(t, shape...)
	b.stream.Copy(narrow, x)
	return narrow
}

// float8 is a tensor of normal values in E4M3, with their scale.
func (b *bench) float8(shape ...int) tensor.Operand {
	q := tensor.Operand{Tensor: b.pool.New(dtype.Float8E4M3, shape...), Scale: b.pool.New(dtype.Float32), Inv: b.pool.New(dtype.Float32)}
	b.stream.DynamicCast(q, tensor.Operand{}, tensor.Operand{Tensor: b.normal(dtype.Float32, shape...)}, false)
	return q
}

func (b *bench) matmuls(m, k, n int) {
	op, flop := fmt.Sprintf("matmul %dx%dx%d", m, k, n), 2*m*k*n
	for _, t := range []dtype.Type{dtype.Float32, dtype.BFloat16} {
		x, w, y := b.normal(t, m, k), b.normal(t, n, k), b.pool.New(t, m, n)
		b.measure(op, short(t), "GFLOP/s", flop, func(s device.Stream) {
			s.MatMul(y, tensor.Operand{Tensor: x}, tensor.Operand{Tensor: w}, device.MatMulOptions{TransB: true})
		})
	}
	x, w, y := b.float8(m, k), b.float8(n, k), b.pool.New(dtype.BFloat16, m, n)
	b.measure(op, "e4m3", "GFLOP/s", flop, func(s device.Stream) {
		s.MatMul(y, x, w, device.MatMulOptions{TransB: true, FastAccum: true})
	})
}

func (b *bench) casts(n int) {
	for _, t := range []dtype.Type{dtype.Float32, dtype.BFloat16} {
		x, amax := b.normal(t, n), b.pool.New(dtype.Float32, 1)
		q := tensor.Operand{Tensor: b.pool.New(dtype.Float8E4M3, n), Scale: b.pool.New(dtype.Float32), Inv: b.pool.New(dtype.Float32)}
		b.measure("amax", short(t), "GB/s", x.Bytes(), func(s device.Stream) { s.Amax(amax, []*tensor.Tensor{x}) })
		b.measure("amax and cast to e4m3", short(t), "GB/s", x.Bytes()+n, func(s device.Stream) { s.DynamicCast(q, tensor.Operand{}, tensor.Operand{Tensor: x}, false) })
	}
}

func (b *bench) layers() {
	const tokens, dim, ffn = 4096, 256, 768
	x, w, rstd := b.normal(dtype.Float32, tokens, dim), b.normal(dtype.Float32, dim), b.pool.New(dtype.Float32, tokens)
	y := b.pool.New(dtype.Float32, tokens, dim)
	b.measure("rms_norm 4096x256", "f32", "Gvalue/s", x.Numel(), func(s device.Stream) { s.RMSNorm(y, nil, rstd, x, nil, w, 1e-5, nil) })

	gate, up, h := b.normal(dtype.Float32, tokens, ffn), b.normal(dtype.Float32, tokens, ffn), b.pool.New(dtype.Float32, tokens, ffn)
	b.measure("silu(a)*b 4096x768", "f32", "Gvalue/s", h.Numel(), func(s device.Stream) { s.SwiGLU(h, gate, up, nil) })

	const batch, seq, heads, head = 4, 512, 16, 16
	q, k, v := b.normal(dtype.Float32, batch, seq, heads, head), b.normal(dtype.Float32, batch, seq, heads, head), b.normal(dtype.Float32, batch, seq, heads, head)
	o, lse := b.pool.New(dtype.Float32, batch, seq, heads, head), b.pool.New(dtype.Float32, batch, heads, seq)
	b.measure("causal attention 4x16x512x16", "f32", "GFLOP/s", 2*q.Numel()*seq, func(s device.Stream) { s.Attention(o, lse, q, k, v, nil, nil, nil) })
	do := b.normal(dtype.Float32, batch, seq, heads, head)
	dq, dk, dv := b.pool.New(dtype.Float32, q.Shape...), b.pool.New(dtype.Float32, q.Shape...), b.pool.New(dtype.Float32, q.Shape...)
	b.measure("causal attention and gradient", "f32", "GFLOP/s", 7*q.Numel()*seq, func(s device.Stream) {
		s.Attention(o, lse, q, k, v, nil, nil, nil)
		s.AttentionGrad(dq, dk, dv, do, q, k, v, o, lse, nil, nil, nil)
	})

	const rows, vocab = 2048, 2048
	logits, targets, loss, scale := b.normal(dtype.Float32, rows, vocab), b.pool.New(dtype.Int32, rows), b.pool.New(dtype.Float32, 1), b.pool.New(dtype.Float32, 1)
	b.stream.Zero(targets)
	b.stream.Zero(loss)
	b.stream.Upload(scale, device.Float32Bytes([]float32{1}))
	b.measure("cross_entropy and gradient 2048x2048", "f32", "Gvalue/s", logits.Numel(), func(s device.Stream) { s.CrossEntropy(loss, logits, targets, scale) })

	const params = 1 << 23
	list := func() []*tensor.Tensor { return []*tensor.Tensor{b.normal(dtype.Float32, params)} }
	p, g, m, v2 := list(), list(), list(), list()
	b.stream.Zero(m[0])
	b.stream.Zero(v2[0])
	updates := b.pool.New(dtype.Int32, 1)
	b.stream.Zero(updates)
	opts := device.AdamWOptions{LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.01}
	b.measure("AdamW", "f32", "Gvalue/s", params, func(s device.Stream) { s.AdamW(p, g, m, v2, updates, nil, opts) })
}

// short is a type's name in the tables.
func short(t dtype.Type) string {
	if t == dtype.BFloat16 {
		return "bf16"
	}
	return "f32"
}
