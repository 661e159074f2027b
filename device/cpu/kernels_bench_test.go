// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// benchTensor is a tensor of normally distributed values.
func benchTensor(b *testing.B, dev *Device, ty dtype.Type, shape ...int) *tensor.Tensor {
	x := newTensor(b, dev, ty, shape...)
	v, r := vecOf(x), rand.New(rand.NewPCG(1, 2))
	for i := range v.n {
		v.set(i, float32(r.NormFloat64()))
	}
	return x
}

// benchIDs is an int32 tensor of ids below n.
func benchIDs(b *testing.B, dev *Device, n int, shape ...int) *tensor.Tensor {
	x := newTensor(b, dev, dtype.Int32, shape...)
	for i := range i32s(x) {
		i32s(x)[i] = int32(i * 7919 % n)
	}
	return x
}

// BenchmarkKernels runs the memory-bound kernels, on one thread, at the sizes
// of the debug model (4 sequences of 512 tokens, width 256, hidden 768, 2048
// ids), except for the optimizer and casts, which have the whole model's
// parameters to go through. MB/s counts what must be read and written once.
func BenchmarkKernels(b *testing.B) {
	const tokens, dim, hidden, vocab, params = 2048, 256, 768, 2048, 6 << 20
	eachISA(b, func(b *testing.B, isa ISA) {
		if isa == AVX512FP16 {
			b.Skip("has the kernels of avx512")
		}
		for _, ty := range []dtype.Type{dtype.Float32, dtype.BFloat16} {
			dev := open(b, isa, 1)
			s := dev.NewStream("bench")
			size := ty.Size()
			measure := func(name string, bytes int, f func()) {
				b.Run(fmt.Sprintf("%s/%v", name, ty), func(b *testing.B) {
					b.SetBytes(int64(bytes))
					f() // memory never touched before takes the system's time
					for b.Loop() {
						f()
						if err := s.Sync(); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
			x, y, z, w := benchTensor(b, dev, ty, tokens, dim), benchTensor(b, dev, ty, tokens, dim), benchTensor(b, dev, ty, tokens, dim), benchTensor(b, dev, ty, dim)
			rstd, dw := newTensor(b, dev, dtype.Float32, tokens), newTensor(b, dev, dtype.Float32, dim)
			g, u, h := benchTensor(b, dev, ty, tokens, hidden), benchTensor(b, dev, ty, tokens, hidden), benchTensor(b, dev, ty, tokens, hidden)
			dg, du := benchTensor(b, dev, ty, tokens, hidden), benchTensor(b, dev, ty, tokens, hidden)
			logits, targets, loss := benchTensor(b, dev, ty, tokens, vocab), benchIDs(b, dev, vocab, tokens), newTensor(b, dev, dtype.Float32, 1)
			scale, top, sum, label := newTensor(b, dev, dtype.Float32, 1), newTensor(b, dev, dtype.Float32, tokens), newTensor(b, dev, dtype.Float32, tokens), newTensor(b, dev, dtype.Float32, tokens)
			f32s(scale)[0] = 1
			flat := func() []*tensor.Tensor {
				return []*tensor.Tensor{benchTensor(b, dev, dtype.Float32, params)}
			}
			p, grad, m, v := flat(), []*tensor.Tensor{benchTensor(b, dev, ty, params)}, flat(), flat()
			of := func(x *tensor.Tensor) tensor.Operand { return tensor.Operand{Tensor: x} }
			none, scale, inv := tensor.Operand{}, newTensor(b, dev, dtype.Float32), newTensor(b, dev, dtype.Float32)
			q := tensor.Operand{Tensor: newTensor(b, dev, dtype.Float8E4M3, params), Scale: scale, Inv: inv}
			act := tensor.Operand{Tensor: newTensor(b, dev, dtype.Float8E4M3, tokens, hidden), Scale: scale, Inv: inv}
			actT := tensor.Operand{Tensor: newTensor(b, dev, dtype.Float8E4M3, hidden, tokens), Scale: scale, Inv: inv, Transposed: true}
			per := func(shape ...int) *tensor.Tensor { return newTensor(b, dev, dtype.Float32, shape...) }
			byRow := tensor.Operand{Tensor: act.Tensor, Scale: per(tokens, 1), Inv: per(tokens, 1)}
			byColumn := tensor.Operand{Tensor: act.Tensor, Scale: per(1, hidden), Inv: per(1, hidden)}
			byColumnT := tensor.Operand{Tensor: actT.Tensor, Scale: byColumn.Scale, Inv: byColumn.Inv, Transposed: true}
			h2 := newTensor(b, dev, ty, hidden, tokens)
			table := newTensor(b, dev, dtype.Float32, 512, 8, 2)
			for i := 0; i < table.Numel(); i += 2 {
				sin, cos := math.Sincos(float64(i))
				f32s(table)[i], f32s(table)[i+1] = float32(cos), float32(sin)
			}
			heads := y.View(4, 512, 16, 16)

			measure("copy", params*(4+size), func() { s.Copy(grad[0], p[0]) })
			measure("add", 3*tokens*dim*size, func() { s.Add(z, x, y) })
			terms := [][]byte{raw(g), raw(u), raw(dg), raw(du)}
			for _, n := range []int{2, 4} {
				measure(fmt.Sprint("sum of ", n, " by the host"), (n+1)*tokens*hidden*size, func() {
					s.(*Stream).do(func() { s.(*Stream).Sum(raw(h), terms[:n], ty) })
				})
			}
			measure("amax", params*size, func() { s.Amax(loss, grad) })
			measure("cast", params*(size+1), func() { s.Cast(q, none, of(grad[0])) })
			measure("cast transposed", tokens*hidden*(size+1), func() { s.Cast(none, actT, of(h)) })
			measure("cast in both layouts", tokens*hidden*(size+2), func() { s.Cast(act, actT, of(h)) })
			measure("dynamic cast", tokens*hidden*(size+1), func() { s.DynamicCast(act, none, of(h), false) })
			measure("dynamic cast by rows", tokens*hidden*(size+1), func() { s.DynamicCast(byRow, none, of(h), true) })
			measure("dynamic cast by columns", tokens*hidden*(size+1), func() { s.DynamicCast(byColumn, none, of(h), true) })
			measure("dynamic cast by columns, transposed", tokens*hidden*(size+1), func() { s.DynamicCast(none, byColumnT, of(h), true) })
			measure("record cast", tokens*hidden*(size+1), func() { s.RecordCast(act, none, of(h), act, loss.View()) })
			measure("dynamic cast of weights", params*(size+1), func() { s.DynamicCast(q, none, of(grad[0]), false) })
			measure("record cast of weights", params*(size+1), func() { s.RecordCast(q, none, of(grad[0]), q, loss.View()) })
			measure("widen", tokens*hidden*(size+1), func() { s.Cast(of(h), none, act) })
			measure("transpose", 2*tokens*hidden*size, func() { s.Transpose(h2, h) })
			measure("transpose of float8", 2*tokens*hidden, func() { s.Transpose(actT.Tensor, act.Tensor) })
			measure("rmsnorm", 4*tokens*dim*size, func() { s.RMSNorm(z, x, rstd, x, y, w, 1e-5, nil) })
			measure("rmsnorm gradient", 4*tokens*dim*size, func() { s.RMSNormGrad(z, dw, x, y, rstd, w, z, nil) })
			measure("rope", 2*tokens*dim*size, func() { s.RoPE(heads, table, nil, false, nil) })
			measure("swiglu", 3*tokens*hidden*size, func() { s.SwiGLU(h, g, u, nil) })
			measure("swiglu gradient", 5*tokens*hidden*size, func() { s.SwiGLUGrad(dg, du, h, g, u, nil, nil) })
			measure("cross-entropy", 2*tokens*vocab*size, func() { s.CrossEntropy(loss, logits, targets, scale) })
			measure("cross-entropy statistics", tokens*vocab*size, func() { s.CrossEntropyStats(top, sum, label, logits, targets, 0, vocab) })
			measure("cross-entropy gradient", 2*tokens*vocab*size, func() { s.CrossEntropyGrad(loss, logits, top, sum, label, targets, 0, scale) })
			measure("embedding", 2*tokens*dim*size, func() { s.Embedding(z, logits.View(8*vocab, dim), targets, 0, 8*vocab) })
			measure("embedding gradient", tokens*dim*(size+8), func() { s.EmbeddingGrad(p[0].View(8*vocab*3/2, dim), x, targets, 0, 8*vocab*3/2) })
			measure("sum of squares", params*size, func() { s.SumSquares(loss, grad) })
			updates := newTensor(b, dev, dtype.Int32, 1)
			measure("adamw", params*(24+size), func() {
				s.AdamW(p, grad, m, v, updates, nil, device.AdamWOptions{LR: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
			})
		}
	})
}

// BenchmarkAttention runs attention on one thread. GFLOP/s counts what a
// causal mask leaves: 2·S²·hd a head forward, 2.5 times that backward.
func BenchmarkAttention(b *testing.B) {
	eachISA(b, func(b *testing.B, isa ISA) {
		if isa == Portable || isa == AVX512FP16 {
			b.Skip("slow, or has the kernels of avx512")
		}
		for _, c := range []struct{ b, s, h, kv, hd int }{{4, 512, 16, 16, 16}, {1, 1024, 8, 4, 64}, {1, 1024, 4, 1, 128}} {
			for _, ty := range []dtype.Type{dtype.Float32, dtype.BFloat16} {
				dev := open(b, isa, 1)
				s := dev.NewStream("bench")
				q, o, do, dq := benchTensor(b, dev, ty, c.b, c.s, c.h, c.hd), benchTensor(b, dev, ty, c.b, c.s, c.h, c.hd), benchTensor(b, dev, ty, c.b, c.s, c.h, c.hd), benchTensor(b, dev, ty, c.b, c.s, c.h, c.hd)
				k, v, dk, dv := benchTensor(b, dev, ty, c.b, c.s, c.kv, c.hd), benchTensor(b, dev, ty, c.b, c.s, c.kv, c.hd), benchTensor(b, dev, ty, c.b, c.s, c.kv, c.hd), benchTensor(b, dev, ty, c.b, c.s, c.kv, c.hd)
				lse := newTensor(b, dev, dtype.Float32, c.b, c.h, c.s)
				measure := func(name string, flop int, f func()) {
					b.Run(fmt.Sprintf("%s/%+v/%v", name, c, ty), func(b *testing.B) {
						for b.Loop() {
							f()
							if err := s.Sync(); err != nil {
								b.Fatal(err)
							}
						}
						b.ReportMetric(float64(flop)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
					})
				}
				flop := 2 * c.b * c.h * c.s * c.s * c.hd
				measure("forward", flop, func() { s.Attention(o, lse, q, k, v, nil, nil, nil) })
				measure("backward", flop*5/2, func() { s.AttentionGrad(dq, dk, dv, do, q, k, v, o, lse, nil, nil, nil) })
			}
		}
	})
}
