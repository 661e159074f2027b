// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"fmt"
	"testing"

	"octet/dtype"
	"octet/tensor"
)

// BenchmarkFarKernels runs kernels of bf16 as a step meets them: each call has operands that the calls
// since have driven out of the second cache. Sizes are the debug model's, as in BenchmarkKernels.
func BenchmarkFarKernels(b *testing.B) {
	const tokens, dim, hidden, vocab, sets = 2048, 256, 768, 2048, 12
	type operands struct{ g, u, h, dg, du, x, y, z, q, rstd, logits *tensor.Tensor }
	eachISA(b, func(b *testing.B, isa ISA) {
		if isa == Portable || isa == AVX512FP16 {
			b.Skip("slow, or has the kernels of avx512")
		}
		dev, ty := open(b, isa, 1), dtype.BFloat16
		s := dev.NewStream("bench")
		var all [sets]operands
		wide := benchTensor(b, dev, ty, tokens, hidden)
		narrow, words := wide.View(tokens*hidden/dim, dim).Rows(0, tokens), benchTensor(b, dev, ty, tokens, vocab)
		copyOf := func(x *tensor.Tensor) *tensor.Tensor {
			to := newTensor(b, dev, x.Type, x.Shape...)
			copy(raw(to), raw(x))
			return to
		}
		for i := range all {
			all[i] = operands{copyOf(wide), copyOf(wide), copyOf(wide), copyOf(wide), copyOf(wide), copyOf(narrow), copyOf(narrow), copyOf(narrow),
				newTensor(b, dev, dtype.Float8E4M3, tokens, hidden), newTensor(b, dev, dtype.Float32, tokens), copyOf(words)}
		}
		w, dw := benchTensor(b, dev, ty, dim), newTensor(b, dev, dtype.Float32, dim)
		scale, inv, loss, one := newTensor(b, dev, dtype.Float32), newTensor(b, dev, dtype.Float32), newTensor(b, dev, dtype.Float32, 1), newTensor(b, dev, dtype.Float32, 1)
		f32s(one)[0] = 1
		targets := benchIDs(b, dev, vocab, tokens)
		of := func(x *tensor.Tensor) tensor.Operand { return tensor.Operand{Tensor: x} }
		for _, k := range []struct {
			name  string
			bytes int
			run   func(o *operands)
		}{
			{"swiglu", 3 * 2 * tokens * hidden, func(o *operands) { s.SwiGLU(o.h, o.g, o.u, nil) }},
			{"swiglu gradient", 5 * 2 * tokens * hidden, func(o *operands) { s.SwiGLUGrad(o.dg, o.du, o.h, o.g, o.u, nil, nil) }},
			{"rmsnorm", 4 * 2 * tokens * dim, func(o *operands) { s.RMSNorm(o.z, o.x, o.rstd, o.x, o.y, w, 1e-5, nil) }},
			{"rmsnorm gradient", 4 * 2 * tokens * dim, func(o *operands) { s.RMSNormGrad(o.z, dw, o.x, o.y, o.rstd, w, o.z, nil) }},
			{"swiglu and amax", 3 * 2 * tokens * hidden, func(o *operands) { s.SwiGLU(o.h, o.g, o.u, scale) }},
			{"swiglu gradient and amaxes", 5 * 2 * tokens * hidden, func(o *operands) { s.SwiGLUGrad(o.dg, o.du, o.h, o.g, o.u, scale, inv) }},
			{"rmsnorm and amax", 4 * 2 * tokens * dim, func(o *operands) { s.RMSNorm(o.z, o.x, o.rstd, o.x, o.y, w, 1e-5, scale) }},
			{"rmsnorm gradient and amax", 4 * 2 * tokens * dim, func(o *operands) { s.RMSNormGrad(o.z, dw, o.x, o.y, o.rstd, w, o.z, scale) }},
			{"add", 3 * 2 * tokens * dim, func(o *operands) { s.Add(o.z, o.x, o.y) }},
			{"dynamic cast", 3 * tokens * hidden, func(o *operands) {
				s.DynamicCast(tensor.Operand{Tensor: o.q, Scale: scale, Inv: inv}, tensor.Operand{}, of(o.u), false)
			}},
			{"dynamic cast by an amax", 3 * tokens * hidden, func(o *operands) {
				s.DynamicCast(tensor.Operand{Tensor: o.q, Scale: scale, Inv: inv}, tensor.Operand{}, tensor.Operand{Tensor: o.u, Amax: loss.View()}, false)
			}},
			{"cross-entropy", 2 * 2 * tokens * vocab, func(o *operands) { s.CrossEntropy(loss, o.logits, targets, one) }},
		} {
			b.Run(fmt.Sprint(k.name), func(b *testing.B) {
				b.SetBytes(int64(k.bytes))
				for i := 0; b.Loop(); i++ {
					k.run(&all[i%sets])
					if err := s.Sync(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}
