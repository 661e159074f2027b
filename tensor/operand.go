// SPDX-License-Identifier: Apache-2.0

package tensor

import (
	"fmt"
	"slices"

	"octet/dtype"
)

// Operand is what a matmul reads: the value [R,C] that Tensor holds, divided
// by a scale. Tensor has the shape of the memory as it lies.
//
// A float8 value was multiplied by Scale before its cast; Inv is the float32
// reciprocal, which is what matmuls read and what travels. Both are float32 of
// one shape, which says what shares a scale (Granularity). Either may be nil
// where nobody needs it; without both the scale is 1.
type Operand struct {
	*Tensor
	Scale, Inv *Tensor
	// Amax is the largest magnitude in a tensor of high precision, float32 [], where
	// whoever wrote it has taken it; nil: nobody has.
	Amax *Tensor
	// Transposed: the memory is [C,R], the value its transpose.
	Transposed bool
}

// Granularity is what shares one scale.
type Granularity int

// What shares a scale of a value [R,C], and the shape of the scales.
const (
	PerTensor Granularity = iota // []
	PerRow                       // [R,1]
	PerColumn                    // [1,C]
)

// String is such as "a scale a row".
func (g Granularity) String() string {
	return [...]string{"a scale for the whole tensor", "a scale a row", "a scale a column"}[g]
}

// Value is the shape of the value, all leading dimensions of the memory taken
// as one.
func (o Operand) Value() (rows, cols int) {
	rows, cols = o.Matrix()
	if o.Transposed {
		return cols, rows
	}
	return rows, cols
}

// Granularity reads what shares a scale from the scale's shape, here and
// nowhere else. One number is a scale for the whole tensor, even as the row or
// column that it may be. It panics on any shape that is none of the three: a
// bare [R] would be a row's or a column's where R = C.
func (o Operand) Granularity() Granularity {
	s := o.Scale
	if s == nil {
		s = o.Inv
	}
	if s == nil {
		return PerTensor
	}
	bad := func(why string) string {
		return fmt.Sprintf("tensor: %v has scale %v, reciprocal %v: %s", o, o.Scale, o.Inv, why)
	}
	if o.Scale != nil && o.Inv != nil && !slices.Equal(o.Scale.Shape, o.Inv.Shape) {
		panic(bad("want one shape for both"))
	}
	if s.Type != dtype.Float32 || o.Inv != nil && o.Inv.Type != dtype.Float32 {
		panic(bad("want float32"))
	}
	if len(s.Shape) == 0 {
		return PerTensor
	}
	rows, cols := o.Value()
	if len(s.Shape) == 2 {
		switch r, c := s.Shape[0], s.Shape[1]; {
		case r == 1 && c == 1 && (rows == 1 || cols == 1):
			return PerTensor
		case r == rows && c == 1:
			return PerRow
		case r == 1 && c == cols:
			return PerColumn
		}
	}
	panic(bad(fmt.Sprintf("want [], [%d 1] or [1 %d] for a value [%d %d]", rows, cols, rows, cols)))
}

// Rows is the operand of rows lo to hi-1 of the first dimension, with their
// scales. It panics where Transposed: rows do not lie together there.
func (o Operand) Rows(lo, hi int) Operand {
	if o.Transposed {
		panic(fmt.Sprintf("tensor: rows %d:%d of %v, which lies transposed", lo, hi, o))
	}
	cut := Operand{Tensor: o.Tensor.Rows(lo, hi), Scale: o.Scale, Inv: o.Inv}
	if o.Granularity() == PerRow {
		rows, _ := o.Value()
		each := rows / max(1, o.Shape[0])
		for _, s := range []**Tensor{&cut.Scale, &cut.Inv} {
			if *s != nil {
				*s = (*s).Rows(lo*each, hi*each)
			}
		}
	}
	return cut
}

// String is such as "float8_e4m3fn[4 128]", with "transposed" where it is.
func (o Operand) String() string {
	if o.Transposed {
		return o.Tensor.String() + " transposed"
	}
	return o.Tensor.String()
}

// Spec is the type and shape of a tensor still to be made.
type Spec struct {
	Type  dtype.Type
	Shape []int
}

// Bytes is the size of the data.
func (s Spec) Bytes() int { return (&Tensor{Type: s.Type, Shape: s.Shape}).Bytes() }
