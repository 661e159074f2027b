// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"octet/device"
	"octet/device/internal/contract"
	"octet/dtype"
	"octet/tensor"
)

func (s *stream) Zero(t *tensor.Tensor) {
	defer s.kernel("Zero", 0, t).End()
	s.inner.Zero(t)
}

func (s *stream) Copy(dst, src *tensor.Tensor) {
	defer s.kernel("Copy", 0, dst, src).End()
	s.inner.Copy(dst, src)
}

func (s *stream) Add(dst, a, b *tensor.Tensor) {
	defer s.kernel("Add", 0, dst, a, b).End()
	s.inner.Add(dst, a, b)
}

func (s *stream) Amax(dst *tensor.Tensor, ts []*tensor.Tensor) {
	defer s.kernel("Amax", dst.Bytes(), ts...).End()
	s.inner.Amax(dst, ts)
}

func (s *stream) Scales(scale, inv, amax *tensor.Tensor, formats []dtype.Type, pow2 bool) {
	defer s.kernel("Scales", 0, scale, inv, amax).End()
	s.inner.Scales(scale, inv, amax, formats, pow2)
}

// cast notes one of operands, the last of which is the source.
func (s *stream) cast(name string, more int, os ...tensor.Operand) Mark {
	if !s.log.on.Load() {
		return Mark{}
	}
	span := &Span{Kind: Kernel, Name: name, Bytes: int64(more)}
	span.operands(os...)
	return s.begin(span)
}

func (s *stream) Cast(dst, dstT, src tensor.Operand) {
	defer s.cast("Cast", 0, dst, dstT, src).End()
	s.inner.Cast(dst, dstT, src)
}

// DynamicCast reads the source twice where all of it shares a scale that nobody has taken the amax
// for; a row or a column can be kept in between.
func (s *stream) DynamicCast(dst, dstT, src tensor.Operand, pow2 bool) {
	again := 0
	if to := contract.Made(dst, dstT); to.Granularity() == tensor.PerTensor && contract.Known(to, src) == nil {
		again = src.Bytes()
	}
	defer s.cast("DynamicCast", again, dst, dstT, src).End()
	s.inner.DynamicCast(dst, dstT, src, pow2)
}

func (s *stream) RecordCast(dst, dstT, src, given tensor.Operand, record *tensor.Tensor) {
	defer s.cast("RecordCast", 0, dst, dstT, src).End()
	s.inner.RecordCast(dst, dstT, src, given, record)
}

func (s *stream) SyncHistories(h device.AmaxHistories) {
	defer s.kernel("SyncHistories", h.History.Bytes(), h.Record, h.Amax, h.History, h.Scale, h.Inv).End()
	s.inner.SyncHistories(h)
}

func (s *stream) CastStats(maxima, sums *tensor.Tensor, src, q tensor.Operand) {
	defer s.cast("CastStats", maxima.Bytes()+sums.Bytes(), src, q).End()
	s.inner.CastStats(maxima, sums, src, q)
}

func (s *stream) Transpose(dst, src *tensor.Tensor) {
	defer s.kernel("Transpose", 0, dst, src).End()
	s.inner.Transpose(dst, src)
}

// MatMul is 2·M·K·N operations.
func (s *stream) MatMul(dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions) {
	if s.log.on.Load() {
		span := &Span{Kind: Kernel, Name: "MatMul", Of: layout(o), Unit: unit(a.Type, b.Type, o.FastAccum)}
		span.add(dst)
		span.operands(a, b)
		if o.Accumulate {
			span.Bytes += int64(dst.Bytes())
		}
		m, n := dst.Matrix()
		span.FLOPs = 2 * float64(m) * float64(n) * float64(a.Numel()) / float64(max(1, m))
		defer s.begin(span).End()
	}
	s.inner.MatMul(dst, a, b, o)
}

// layout is such as "NT": a as it is, b transposed; with "+=" where it adds.
func layout(o device.MatMulOptions) string {
	l := [2]byte{'N', 'N'}
	if o.TransA {
		l[0] = 'T'
	}
	if o.TransB {
		l[1] = 'T'
	}
	if o.Accumulate {
		return string(l[:]) + " +="
	}
	return string(l[:])
}

func (s *stream) AddBias(y, bias *tensor.Tensor) {
	defer s.kernel("AddBias", y.Bytes(), y, bias).End()
	s.inner.AddBias(y, bias)
}

func (s *stream) BiasGrad(db, dy *tensor.Tensor) {
	defer s.kernel("BiasGrad", 0, db, dy).End()
	s.inner.BiasGrad(db, dy)
}

// Embedding reads as much of the table as it writes.
func (s *stream) Embedding(y, table, ids *tensor.Tensor, offset, vocab int) {
	defer s.kernel("Embedding", y.Bytes(), y, ids).End()
	s.inner.Embedding(y, table, ids, offset, vocab)
}

func (s *stream) EmbeddingGrad(dtable, dy, ids *tensor.Tensor, offset, vocab int) {
	defer s.kernel("EmbeddingGrad", 0, dtable, dy, ids).End()
	s.inner.EmbeddingGrad(dtable, dy, ids, offset, vocab)
}

func (s *stream) RMSNorm(y, sum, rstd, x, residual, w *tensor.Tensor, eps float32, amax *tensor.Tensor) {
	defer s.kernel("RMSNorm", 0, y, sum, rstd, x, residual, w).End()
	s.inner.RMSNorm(y, sum, rstd, x, residual, w, eps, amax)
}

func (s *stream) RMSNormGrad(dx, dw, dy, x, rstd, w, add, amax *tensor.Tensor) {
	defer s.kernel("RMSNormGrad", 0, dx, dw, dy, x, rstd, w, add).End()
	s.inner.RMSNormGrad(dx, dw, dy, x, rstd, w, add, amax)
}

func (s *stream) LayerNorm(y, mean, rstd, x, w, b *tensor.Tensor, eps float32) {
	defer s.kernel("LayerNorm", 0, y, mean, rstd, x, w, b).End()
	s.inner.LayerNorm(y, mean, rstd, x, w, b, eps)
}

func (s *stream) LayerNormGrad(dx, dw, dy, x, mean, rstd, w, add *tensor.Tensor) {
	defer s.kernel("LayerNormGrad", 0, dx, dw, dy, x, mean, rstd, w, add).End()
	s.inner.LayerNormGrad(dx, dw, dy, x, mean, rstd, w, add)
}

func (s *stream) RoPE(x, table, pos *tensor.Tensor, inverse bool, amax *tensor.Tensor) {
	defer s.kernel("RoPE", x.Bytes(), x, table, pos).End()
	s.inner.RoPE(x, table, pos, inverse, amax)
}

// attention notes a kernel with that many products, each of 2 operations for a query, one of
// the keys that it sees, and an element of a head. Positions are taken to be the
// last ones of the keys: what the device knows of others the host does not.
func (s *stream) attention(name string, products int, q, k *tensor.Tensor, args ...*tensor.Tensor) Mark {
	m := s.kernel(name, 0, args...)
	if m.span != nil {
		sq, sk := float64(q.Dim(1)), float64(k.Dim(1))
		seen := sq*sk - sq*(sq-1)/2
		if sq > sk {
			seen = sk * (sk + 1) / 2
		}
		m.span.FLOPs = 2 * float64(products) * float64(q.Dim(0)) * float64(q.Dim(2)) * float64(q.Dim(3)) * seen
		m.span.Unit = unit(q.Type, k.Type, false)
	}
	return m
}

func (s *stream) Attention(o, lse, q, k, v, qpos, kpos, amax *tensor.Tensor) {
	defer s.attention("Attention", 2, q, k, o, lse, q, k, v).End()
	s.inner.Attention(o, lse, q, k, v, qpos, kpos, amax)
}

func (s *stream) AttentionGrad(dq, dk, dv, do, q, k, v, o, lse, qpos, kpos, amax *tensor.Tensor) {
	defer s.attention("AttentionGrad", 5, q, k, dq, dk, dv, do, q, k, v, o, lse).End()
	s.inner.AttentionGrad(dq, dk, dv, do, q, k, v, o, lse, qpos, kpos, amax)
}

func (s *stream) SwiGLU(h, gate, up, amax *tensor.Tensor) {
	defer s.kernel("SwiGLU", 0, h, gate, up).End()
	s.inner.SwiGLU(h, gate, up, amax)
}

func (s *stream) SwiGLUGrad(dgate, dup, dh, gate, up, gateAmax, upAmax *tensor.Tensor) {
	defer s.kernel("SwiGLUGrad", 0, dgate, dup, dh, gate, up).End()
	s.inner.SwiGLUGrad(dgate, dup, dh, gate, up, gateAmax, upAmax)
}

func (s *stream) Activate(y, x *tensor.Tensor, f device.Activation) {
	defer s.kernel("Activate", 0, y, x).End()
	s.inner.Activate(y, x, f)
}

func (s *stream) ActivateGrad(dx, dy, x *tensor.Tensor, f device.Activation) {
	defer s.kernel("ActivateGrad", 0, dx, dy, x).End()
	s.inner.ActivateGrad(dx, dy, x, f)
}

func (s *stream) CrossEntropy(loss, logits, targets, scale *tensor.Tensor) {
	defer s.kernel("CrossEntropy", logits.Bytes(), logits, targets).End()
	s.inner.CrossEntropy(loss, logits, targets, scale)
}

func (s *stream) CrossEntropyStats(maxima, sum, target, logits, targets *tensor.Tensor, offset, vocab int) {
	defer s.kernel("CrossEntropyStats", 0, maxima, sum, target, logits, targets).End()
	s.inner.CrossEntropyStats(maxima, sum, target, logits, targets, offset, vocab)
}

func (s *stream) RescaleSum(sum, from, to *tensor.Tensor) {
	defer s.kernel("RescaleSum", sum.Bytes(), sum, from, to).End()
	s.inner.RescaleSum(sum, from, to)
}

func (s *stream) CrossEntropyGrad(loss, logits, maxima, sum, target, targets *tensor.Tensor, offset int, scale *tensor.Tensor) {
	defer s.kernel("CrossEntropyGrad", logits.Bytes(), logits, maxima, sum, target, targets).End()
	s.inner.CrossEntropyGrad(loss, logits, maxima, sum, target, targets, offset, scale)
}

func (s *stream) SquaredError(loss, y, target, scale *tensor.Tensor) {
	defer s.kernel("SquaredError", y.Bytes(), y, target).End()
	s.inner.SquaredError(loss, y, target, scale)
}

func (s *stream) Reciprocal(dst, n *tensor.Tensor) {
	defer s.kernel("Reciprocal", 0, dst, n).End()
	s.inner.Reciprocal(dst, n)
}

func (s *stream) SumSquares(dst *tensor.Tensor, ts []*tensor.Tensor) {
	defer s.kernel("SumSquares", dst.Bytes(), ts...).End()
	s.inner.SumSquares(dst, ts)
}

func (s *stream) ClipCoef(norm, coef, sumsq *tensor.Tensor, maxNorm float32) {
	defer s.kernel("ClipCoef", 0, norm, coef, sumsq).End()
	s.inner.ClipCoef(norm, coef, sumsq, maxNorm)
}

// AdamW reads g, and reads and writes the others.
func (s *stream) AdamW(p, g, m, v []*tensor.Tensor, steps, coef *tensor.Tensor, o device.AdamWOptions) {
	if s.log.on.Load() {
		span := &Span{Kind: Kernel, Name: "AdamW"}
		for _, list := range [][]*tensor.Tensor{p, m, v} {
			span.add(list...)
		}
		span.Bytes *= 2
		span.add(g...)
		defer s.begin(span).End()
	}
	s.inner.AdamW(p, g, m, v, steps, coef, o)
}
