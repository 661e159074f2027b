// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"

	"octet/dtype"
	"octet/tensor"
)

// Embedding is Kernels.Embedding's.
func (d Of) Embedding(y, table, ids *tensor.Tensor, offset, vocab int) {
	d.embedding("Embedding(y [T,D], table [V,D], ids int32 [T], offset, vocab)", y, table, ids, offset, vocab)
}

// EmbeddingGrad is Kernels.EmbeddingGrad's.
func (d Of) EmbeddingGrad(dtable, dy, ids *tensor.Tensor, offset, vocab int) {
	d.embedding("EmbeddingGrad(dtable float32 [V,D], dy [T,D], ids int32 [T], offset, vocab)", dy, dtable, ids, offset, vocab)
	d.Hold(dtable.Type == dtype.Float32, "EmbeddingGrad(dtable float32 [V,D])", dtable)
}

func (d Of) embedding(want string, y, table, ids *tensor.Tensor, offset, vocab int) {
	ok := isHP(y, table) && len(table.Shape) == 2 && ids.Type == dtype.Int32 && y.Dim(-1) == table.Dim(1) && y.Numel() == ids.Numel()*table.Dim(1)
	d.Hold(ok && offset >= 0 && offset+table.Dim(0) <= vocab, want, y, table, ids)
}

// RMSNorm is Kernels.RMSNorm's.
func (d Of) RMSNorm(y, sum, rstd, x, residual, w, amax *tensor.Tensor) {
	rows, _ := x.Matrix()
	ok := isHP(y, x, w) && sameNumel(x, y) && w.Numel() == x.Dim(-1) && isF32(rstd, rows) &&
		(residual == nil || sum != nil && isHP(sum, residual) && sameNumel(x, sum, residual))
	d.Hold(ok, "RMSNorm(y, sum, rstd float32 [T], x, residual [T,D], w [D])", y, sum, rstd, x, residual, w)
	d.amax(amax)
}

// RMSNormGrad is Kernels.RMSNormGrad's.
func (d Of) RMSNormGrad(dx, dw, dy, s, rstd, w, add, amax *tensor.Tensor) {
	rows, _ := s.Matrix()
	ok := isHP(dx, dy, s, w) && sameNumel(s, dx, dy) && w.Numel() == s.Dim(-1) && isF32(dw, w.Numel()) && isF32(rstd, rows) &&
		(add == nil || isHP(add) && sameNumel(s, add))
	d.Hold(ok, "RMSNormGrad(dx, dw float32 [D], dy, s [T,D], rstd float32 [T], w [D], add [T,D] or none)", dx, dw, dy, s, rstd, w, add)
	d.amax(amax)
}

// LayerNorm is Kernels.LayerNorm's.
func (d Of) LayerNorm(y, mean, rstd, x, w, b *tensor.Tensor) {
	rows, _ := x.Matrix()
	d.Hold(isHP(y, x, w, b) && sameNumel(x, y) && w.Numel() == x.Dim(-1) && sameNumel(w, b) && isF32(mean, rows) && isF32(rstd, rows),
		"LayerNorm(y, mean, rstd float32 [T], x [T,D], w, b [D])", y, mean, rstd, x, w, b)
}

// LayerNormGrad is Kernels.LayerNormGrad's.
func (d Of) LayerNormGrad(dx, dw, dy, x, mean, rstd, w, add *tensor.Tensor) {
	rows, _ := x.Matrix()
	d.Hold(isHP(dx, dy, x, w) && sameNumel(x, dx, dy) && w.Numel() == x.Dim(-1) && isF32(dw, w.Numel()) && isF32(mean, rows) && isF32(rstd, rows) &&
		(add == nil || isHP(add) && sameNumel(x, add)),
		"LayerNormGrad(dx, dw float32 [D], dy, x [T,D], mean, rstd float32 [T], w [D], add [T,D] or none)", dx, dw, dy, x, mean, rstd, w, add)
}

// RoPE is Kernels.RoPE's.
func (d Of) RoPE(x, table, pos, amax *tensor.Tensor) {
	d.amax(amax)
	const want = "RoPE(x [B,S,H,hd], table float32 [N,hd/2,2], N >= S where pos is nil, pos int32 [S] or nil)"
	d.Hold(isHP(x) && len(x.Shape) == 4 && len(table.Shape) == 3 && x.Dim(3)%2 == 0, want, x, table, pos)
	seq, hd := x.Dim(1), x.Dim(3)
	d.Hold(isF32(table, table.Dim(0)*hd) && table.Dim(2) == 2 && (pos != nil || table.Dim(0) >= seq) && isPos(pos, seq), want, x, table, pos)
}

// isPos reports whether pos can be the positions of n tokens.
func isPos(pos *tensor.Tensor, n int) bool { return pos == nil || isI32(pos, n) }

// Attention is Kernels.Attention's.
func (d Of) Attention(o, lse, q, k, v, qpos, kpos, amax *tensor.Tensor) {
	d.amax(amax)
	d.attention("Attention(o, lse float32 [B,H,Sq], q [B,Sq,H,hd], k, v [B,Sk,KV,hd], qpos int32 [Sq], kpos int32 [Sk])",
		lse, qpos, kpos, []*tensor.Tensor{q, o}, []*tensor.Tensor{k, v})
}

// AttentionGrad is Kernels.AttentionGrad's.
func (d Of) AttentionGrad(dq, dk, dv, do, q, k, v, o, lse, qpos, kpos, amax *tensor.Tensor) {
	d.amax(amax)
	d.attention("AttentionGrad(dq, dk, dv, do, q [B,Sq,H,hd], k, v [B,Sk,KV,hd], o, lse float32 [B,H,Sq], qpos int32 [Sq], kpos int32 [Sk])",
		lse, qpos, kpos, []*tensor.Tensor{q, o, do, dq}, []*tensor.Tensor{k, v, dk, dv})
}

func (d Of) attention(want string, lse, qpos, kpos *tensor.Tensor, qs, ks []*tensor.Tensor) {
	q, k := qs[0], ks[0]
	all := append(append([]*tensor.Tensor{lse}, qs...), ks...)
	d.Hold(len(q.Shape) == 4 && len(k.Shape) == 4 && sameShape(q, qs...) && sameShape(k, ks...) && isHP(qs...) && isHP(ks...), want, all...)
	d.Hold(k.Dim(0) == q.Dim(0) && k.Dim(3) == q.Dim(3) && k.Dim(2) > 0 && q.Dim(2)%k.Dim(2) == 0 && isF32(lse, q.Dim(0)*q.Dim(2)*q.Dim(1)), want, all...)
	d.Hold(isPos(qpos, q.Dim(1)) && isPos(kpos, k.Dim(1)), want, append(all, qpos, kpos)...)
}

// CrossEntropy is Kernels.CrossEntropy's. It returns the rows of logits and their width.
func (d Of) CrossEntropy(loss, logits, targets, scale *tensor.Tensor) (rows, vocab int) {
	return d.loss("CrossEntropy(loss float32 [1] or nil, logits [T,V], targets int32 [T], scale float32 [1])", logits, targets, nil, loss, scale)
}

// CrossEntropyStats is Kernels.CrossEntropyStats's. It returns what CrossEntropy does.
func (d Of) CrossEntropyStats(most, sum, target, logits, targets *tensor.Tensor, offset, vocab int) (rows, width int) {
	rows, width = d.loss("CrossEntropyStats(max, sum, target float32 [T], logits [T,V], targets int32 [T])", logits, targets, []*tensor.Tensor{most, sum, target})
	if offset < 0 || offset+width > vocab {
		panic(fmt.Sprintf("%s: a slice of %d from %d is outside the vocabulary of %d", string(d), width, offset, vocab))
	}
	return rows, width
}

// RescaleSum is Kernels.RescaleSum's.
func (d Of) RescaleSum(sum, from, to *tensor.Tensor) {
	n := sum.Numel()
	d.Hold(isF32(sum, n) && isF32(from, n) && isF32(to, n), "RescaleSum(sum, from, to float32 [T])", sum, from, to)
}

// CrossEntropyGrad is Kernels.CrossEntropyGrad's. It returns what CrossEntropy does.
func (d Of) CrossEntropyGrad(loss, logits, most, sum, target, targets, scale *tensor.Tensor) (rows, width int) {
	return d.loss("CrossEntropyGrad(loss float32 [1] or nil, logits [T,V], max, sum, target float32 [T], targets int32 [T], scale float32 [1])",
		logits, targets, []*tensor.Tensor{most, sum, target}, loss, scale)
}

func (d Of) loss(want string, logits, targets *tensor.Tensor, stats []*tensor.Tensor, ones ...*tensor.Tensor) (rows, width int) {
	rows, width = targets.Numel(), logits.Dim(-1)
	ok := isHP(logits) && logits.Numel() == rows*width && targets.Type == dtype.Int32
	for _, t := range stats {
		ok = ok && isF32(t, rows)
	}
	for i, t := range ones {
		ok = ok && (t == nil && i == 0 || isF32(t, 1))
	}
	d.Hold(ok, want, append(append([]*tensor.Tensor{logits, targets}, stats...), ones...)...)
	return rows, width
}

// SquaredError is Kernels.SquaredError's.
func (d Of) SquaredError(loss, y, target, scale *tensor.Tensor) {
	d.Hold(isHP(y, target) && sameNumel(y, target) && isF32(loss, 1) && isF32(scale, 1),
		"SquaredError(loss float32 [1], y, target of equal numel, high precision, scale float32 [1])", loss, y, target, scale)
}
