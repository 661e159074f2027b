// SPDX-License-Identifier: Apache-2.0

package cuda

import (
	"fmt"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// lanes is an operand as the own kernels see it: along its rows (of op(a)) or columns (of
// op(b)), the lanes, and along k.
type lanes struct {
	n, k        int
	step, kStep int // elements from a lane to the next, and along k
	inv         *tensor.Tensor
	each        bool // a reciprocal a lane
}

// newLanes is op(x), of which k is the first dimension (as of a transposed left
// operand), or the last.
func newLanes(x tensor.Operand, kFirst bool) lanes {
	rows, cols := x.Value()
	_, ld := x.Matrix()
	l := lanes{n: rows, k: cols, step: ld, kStep: 1}
	lanewise := tensor.PerRow
	if kFirst {
		l.n, l.k = cols, rows
		lanewise = tensor.PerColumn
	}
	if kFirst != x.Transposed {
		l.step, l.kStep = 1, ld
	}
	switch g := x.Granularity(); {
	case x.Inv == nil && x.Scale != nil:
		panic(fmt.Sprintf("cuda: MatMul: %v has scale %v, but not its reciprocal", x, x.Scale))
	case x.Inv == nil:
	case g == tensor.PerTensor || g == lanewise:
		l.inv, l.each = x.Inv, g == lanewise
	default:
		panic(fmt.Sprintf("cuda: MatMul: %v has %v %v, along the dimension that is summed: [%d,%d] by lanes and k", x, g, x.Inv, l.n, l.k))
	}
	return l
}

// MatMul is dst = op(a)·op(b), or dst += op(a)·op(b); see device.Kernels.
func (k *kernels) MatMul(dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions) {
	x, y := checkMatMul(dst, a, b, o)
	k.ownMatMul(dst, a, b, x, y, o.Accumulate)
}

// checkMatMul is what the operands of a product are along its lanes.
func checkMatMul(dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions) (x, y lanes) {
	const want = "MatMul(dst [M,N] high precision, op(a) [M,K], op(b) [K,N], high precision or float8)"
	isOperand := func(t *tensor.Tensor) bool { return len(t.Shape) > 0 && (isHP(t) || t.Type.IsFloat8()) }
	must(isOperand(a.Tensor) && isOperand(b.Tensor) && isHP(dst) && len(dst.Shape) > 0, want, dst, a.Tensor, b.Tensor)
	x, y = newLanes(a, o.TransA), newLanes(b, !o.TransB)
	m, n := dst.Matrix()
	must(x.k == y.k && x.n == m && y.n == n, want, dst, a.Tensor, b.Tensor)
	return x, y
}

// tileSide is the rows and columns that a block of the own kernels computes.
const tileSide = 64

// ownMatMul takes any type, shape and layout: what cuBLASLt does not.
func (k *kernels) ownMatMul(dst *tensor.Tensor, a, b tensor.Operand, x, y lanes, add bool) {
	which := kMatMulNarrow
	if a.Type == dtype.Float32 || b.Type == dtype.Float32 {
		which = kMatMul
	}
	l := k.begin(which).dst(dst).src(a.Tensor).src(b.Tensor).src(x.inv).src(y.inv).u64(x.n).u64(y.n).u64(x.k)
	l.u64(x.step).u64(x.kStep).u64(y.step).u64(y.kStep).bool(x.each).bool(y.each).bool(add)
	k.over(l, count(x.n, tileSide)*count(y.n, tileSide))
}

// Float8TN reports that float8 operands lie with what is summed side by side: all GPUs
// multiply such fast, and few any others.
func (k *kernels) Float8TN() bool { return true }
