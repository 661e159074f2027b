// SPDX-License-Identifier: Apache-2.0

package cuda

import (
	"octet/device"
	"octet/device/internal/contract"
	"octet/dtype"
	"octet/tensor"
)

// MatMul is dst = op(a)·op(b), or dst += op(a)·op(b); see device.Kernels.
func (k *kernels) MatMul(dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions) {
	x, y := must.MatMul(dst, a, b, o)
	k.ownMatMul(dst, a, b, x, y, o.Accumulate)
}

// tileSide is the rows and columns that a block of the own kernels computes.
const tileSide = 64

// ownMatMul takes any type, shape and layout: what cuBLASLt does not.
func (k *kernels) ownMatMul(dst *tensor.Tensor, a, b tensor.Operand, x, y contract.Side, add bool) {
	which := kMatMulNarrow
	if a.Type == dtype.Float32 || b.Type == dtype.Float32 {
		which = kMatMul
	}
	l := k.begin(which).dst(dst).src(a.Tensor).src(b.Tensor).src(x.Inv).src(y.Inv).u64(x.Lanes).u64(y.Lanes).u64(x.K)
	k.over(l.strides(x).strides(y).bool(x.Each).bool(y.Each).bool(add), count(x.Lanes, tileSide)*count(y.Lanes, tileSide))
}

// strides are the elements from a lane to the next, and along k.
func (l *launch) strides(x contract.Side) *launch {
	if x.KContiguous {
		return l.u64(x.LD).u64(1)
	}
	return l.u64(1).u64(x.LD)
}

// Float8TN reports that float8 operands lie with what is summed side by side: all GPUs
// multiply such fast, and few any others.
func (k *kernels) Float8TN() bool { return true }
