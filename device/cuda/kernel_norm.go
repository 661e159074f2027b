// SPDX-License-Identifier: Apache-2.0

package cuda

import (
	"octet/dtype"
	"octet/tensor"
)

// RMSNorm is y = s·rstd·w, s = x + residual; see device.Kernels.
func (k *kernels) RMSNorm(y, sum, rstd, x, residual, w *tensor.Tensor, eps float32) {
	rows, cols := x.Matrix()
	const want = "RMSNorm(y, sum, rstd float32 [T], x, residual [T,D], w [D])"
	must(isHP(y, x, w) && sameNumel(x, y) && w.Numel() == x.Dim(-1) && isF32(rstd, rows), want, y, sum, rstd, x, residual, w)
	if residual == nil {
		sum = nil
	} else {
		must(sum != nil && isHP(sum, residual) && sameNumel(x, sum, residual), want, y, sum, rstd, x, residual, w)
	}
	l := k.begin(kRMSNorm).dst(y).dst(sum).dst(rstd).src(x).src(residual).src(w).u64(rows).u64(cols).f32(eps)
	k.over(l.held(cols, 1), rows)
}

// RMSNormGrad gives the gradients of s and w; see device.Kernels.
func (k *kernels) RMSNormGrad(dx, dw, dy, sum, rstd, w, add *tensor.Tensor) {
	rows, cols := sum.Matrix()
	const want = "RMSNormGrad(dx, dw float32 [D], dy, s [T,D], rstd float32 [T], w [D], add [T,D] or none)"
	must(isHP(dx, dy, sum, w) && sameNumel(sum, dx, dy) && w.Numel() == sum.Dim(-1) && isF32(dw, w.Numel()) && isF32(rstd, rows), want, dx, dw, dy, sum, rstd, w, add)
	must(add == nil || isHP(add) && sameNumel(sum, add), want, dx, dw, dy, sum, rstd, w, add)
	parts := shares(rows)
	partial := k.scratch(slotPartial, dtype.Float32, parts*cols)
	l := k.begin(kRMSNormGrad).dst(dx).dst(partial).src(dy).src(sum).src(rstd).src(w).src(add).u64(rows).u64(cols)
	k.blocks(l.held(cols, 3), parts)
	k.sumColumns(dw, partial, parts)
}

// LayerNorm is y = (x - mean)·rstd·w + b; see device.Kernels.
func (k *kernels) LayerNorm(y, mean, rstd, x, w, b *tensor.Tensor, eps float32) {
	rows, cols := x.Matrix()
	must(isHP(y, x, w, b) && sameNumel(x, y) && w.Numel() == x.Dim(-1) && sameNumel(w, b) && isF32(mean, rows) && isF32(rstd, rows),
		"LayerNorm(y, mean, rstd float32 [T], x [T,D], w, b [D])", y, mean, rstd, x, w, b)
	l := k.begin(kLayerNorm).dst(y).dst(mean).dst(rstd).src(x).src(w).src(b).u64(rows).u64(cols).f32(eps)
	k.over(l.held(cols, 1), rows)
}

// LayerNormGrad gives the gradients of x and w; see device.Kernels.
func (k *kernels) LayerNormGrad(dx, dw, dy, x, mean, rstd, w, add *tensor.Tensor) {
	rows, cols := x.Matrix()
	must(isHP(dx, dy, x, w) && sameNumel(x, dx, dy) && w.Numel() == x.Dim(-1) && isF32(dw, w.Numel()) && isF32(mean, rows) && isF32(rstd, rows) &&
		(add == nil || isHP(add) && sameNumel(x, add)),
		"LayerNormGrad(dx, dw float32 [D], dy, x [T,D], mean, rstd float32 [T], w [D], add [T,D] or none)", dx, dw, dy, x, mean, rstd, w, add)
	parts := shares(rows)
	partial := k.scratch(slotPartial, dtype.Float32, parts*cols)
	l := k.begin(kLayerNormGrad).dst(dx).dst(partial).src(dy).src(x).src(mean).src(rstd).src(w).src(add).u64(rows).u64(cols)
	k.blocks(l.held(cols, 3), parts)
	k.sumColumns(dw, partial, parts)
}

// mostShared is what a block may have of shared memory on the smallest GPU, 99 KiB on
// compute capability 8.9 and 12.x, less what kernels have beside.
const mostShared = 96 << 10

// held says whether a block holds so many float32 of each column of a row in shared
// memory, and gives it that: the row is then read once.
func (l *launch) held(cols, each int) *launch {
	if bytes := 4 * each * 8 * count(cols, 8); bytes <= mostShared {
		l.shared = uint32(bytes)
	}
	return l.bool(l.shared > 0)
}
