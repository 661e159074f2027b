// SPDX-License-Identifier: Apache-2.0

package cuda

import (
	"octet/dtype"
	"octet/tensor"
)

// RMSNorm is y = s·rstd·w, s = x + residual; see device.Kernels.
func (k *kernels) RMSNorm(y, sum, rstd, x, residual, w *tensor.Tensor, eps float32, amax *tensor.Tensor) {
	rows, cols := x.Matrix()
	must.RMSNorm(y, sum, rstd, x, residual, w, amax)
	k.clear(amax)
	if residual == nil {
		sum = nil
	}
	l := k.begin(kRMSNorm).dst(y).dst(sum).dst(rstd).src(x).src(residual).src(w).u64(rows).u64(cols).f32(eps).dst(amax)
	k.over(l.held(cols, 1), rows)
}

// RMSNormGrad gives the gradients of s and w; see device.Kernels.
func (k *kernels) RMSNormGrad(dx, dw, dy, sum, rstd, w, add, amax *tensor.Tensor) {
	rows, cols := sum.Matrix()
	must.RMSNormGrad(dx, dw, dy, sum, rstd, w, add, amax)
	k.clear(amax)
	parts := shares(rows)
	partial := k.scratch(slotPartial, dtype.Float32, parts*cols)
	l := k.begin(kRMSNormGrad).dst(dx).dst(partial).src(dy).src(sum).src(rstd).src(w).src(add).u64(rows).u64(cols).dst(amax)
	k.blocks(l.held(cols, 3), parts)
	k.sumColumns(dw, partial, parts)
}

// LayerNorm is y = (x - mean)·rstd·w + b; see device.Kernels.
func (k *kernels) LayerNorm(y, mean, rstd, x, w, b *tensor.Tensor, eps float32) {
	rows, cols := x.Matrix()
	must.LayerNorm(y, mean, rstd, x, w, b)
	l := k.begin(kLayerNorm).dst(y).dst(mean).dst(rstd).src(x).src(w).src(b).u64(rows).u64(cols).f32(eps)
	k.over(l.held(cols, 1), rows)
}

// LayerNormGrad gives the gradients of x and w; see device.Kernels.
func (k *kernels) LayerNormGrad(dx, dw, dy, x, mean, rstd, w, add *tensor.Tensor) {
	rows, cols := x.Matrix()
	must.LayerNormGrad(dx, dw, dy, x, mean, rstd, w, add)
	parts := shares(rows)
	partial := k.scratch(slotPartial, dtype.Float32, parts*cols)
	l := k.begin(kLayerNormGrad).dst(dx).dst(partial).src(dy).src(x).src(mean).src(rstd).src(w).src(add).u64(rows).u64(cols)
	k.blocks(l.held(cols, 3), parts)
	k.sumColumns(dw, partial, parts)
}

// declaredShared is what a kernel may declare of shared memory beside what its launch gives it, and
// mostShared what that is at most: a block has 99 KiB on compute capability 8.9 and 12.x, no GPU less.
const (
	declaredShared = 3 << 10
	mostShared     = 99<<10 - declaredShared
)

// held says whether a block holds so many float32 of each column of a row in shared
// memory, and gives it that: the row is then read once.
func (l *launch) held(cols, each int) *launch {
	if bytes := 4 * each * 8 * count(cols, 8); bytes <= mostShared {
		l.shared = uint32(bytes)
	}
	return l.bool(l.shared > 0)
}
