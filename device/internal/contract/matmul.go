// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"

	"octet/device"
	"octet/tensor"
)

// Side is an operand of a matmul as kernels see it: along its rows (of op(a)) or columns
// (of op(b)), the lanes, and along k.
type Side struct {
	Lanes, K    int
	LD          int            // elements between neighbours of the dimension that is not contiguous
	KContiguous bool           // k is the one that is
	Inv         *tensor.Tensor // the reciprocal of the scale; nil: 1
	Each        bool           // each lane has its own
}

// MatMul is Kernels.MatMul's. It returns what the operands are along their lanes.
func (d Of) MatMul(dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions) (x, y Side) {
	isOperand := func(t *tensor.Tensor) bool { return len(t.Shape) > 0 && (isHP(t) || t.Type.IsFloat8()) }
	if !isOperand(a.Tensor) || !isOperand(b.Tensor) || !isHP(dst) || len(dst.Shape) == 0 {
		panic(fmt.Sprintf("%s: MatMul: want dst [M,N] of high precision, a and b of high precision or float8; got %v = %v · %v", string(d), dst, a, b))
	}
	x, y = d.side(a, o.TransA), d.side(b, !o.TransB)
	if m, n := dst.Matrix(); x.K != y.K || x.Lanes != m || y.Lanes != n {
		panic(fmt.Sprintf("%s: MatMul: %v = op(%v) · op(%v) with TransA %t, TransB %t: op(a) is [%d,%d], op(b) [%d,%d]",
			string(d), dst, a, b, o.TransA, o.TransB, x.Lanes, x.K, y.K, y.Lanes))
	}
	return x, y
}

// side is op(x), of which k is the first dimension (as of a transposed left operand), or
// the last.
func (d Of) side(x tensor.Operand, kFirst bool) Side {
	rows, cols := x.Value()
	_, ld := x.Matrix()
	s := Side{Lanes: rows, K: cols, LD: ld, KContiguous: kFirst == x.Transposed}
	lanewise := tensor.PerRow
	if kFirst {
		s.Lanes, s.K = cols, rows
		lanewise = tensor.PerColumn
	}
	switch g := x.Granularity(); {
	case x.Inv == nil && x.Scale != nil:
		panic(fmt.Sprintf("%s: MatMul: %v has scale %v, but not its reciprocal", string(d), x, x.Scale))
	case x.Inv == nil:
	case g == tensor.PerTensor || g == lanewise:
		s.Inv, s.Each = x.Inv, g == lanewise
	default:
		panic(fmt.Sprintf("%s: MatMul: %v has %v %v, along the dimension that is summed: [%d,%d] by lanes and k", string(d), x, g, x.Inv, s.Lanes, s.K))
	}
	return s
}
