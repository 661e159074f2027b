// SPDX-License-Identifier: Apache-2.0

// Package tensor has the nouns of the house: Tensor, a contiguous row-major
// array in a device's memory; Operand, what a matmul reads: data, how it lies,
// and the scale that was used to cast it; Spec, a tensor still to be made.
//
// A Tensor is a view and never changes after it is made; memory belongs to
// whoever allocated the buffer.
//
//	x := tensor.New(buf, dtype.BFloat16, 4, 128)   // [4,128] at the start of buf
//	y := x.View(2, 2, 128)                         // same memory, other shape
//	r := x.Rows(1, 3)                              // rows 1 and 2
//	op := tensor.Operand{Tensor: q, Scale: s, Inv: inv} // float8 bytes, their scale and its reciprocal
package tensor

import (
	"fmt"

	"octet/dtype"
)

// Buffer is memory of a device.
type Buffer interface {
	Len() int // bytes
}

// Tensor is a contiguous row-major array that starts Off bytes into Buf.
// Its fields are read-only after New.
type Tensor struct {
	Buf   Buffer
	Off   int
	Shape []int
	Type  dtype.Type
}

// New makes a view of the first bytes of buf. It panics if buf is too small.
func New(buf Buffer, t dtype.Type, shape ...int) *Tensor {
	return At(buf, 0, t, shape...)
}

// At makes a view that starts off bytes into buf.
func At(buf Buffer, off int, t dtype.Type, shape ...int) *Tensor {
	x := view(buf, off, t, shape)
	if off+x.Bytes() > buf.Len() {
		panic(fmt.Sprintf("tensor: %v at byte %d needs %d bytes, the buffer has %d", x, off, off+x.Bytes(), buf.Len()))
	}
	return x
}

// view makes a tensor with a shape of its own, both in one allocation where the
// shape is short: a step makes thousands.
func view(buf Buffer, off int, t dtype.Type, shape []int) *Tensor {
	x := &struct {
		Tensor
		dims [4]int
	}{Tensor: Tensor{Buf: buf, Off: off, Type: t}}
	x.Shape = append(x.dims[:0], shape...)
	x.Shape = x.Shape[:len(shape):len(shape)]
	return &x.Tensor
}

// Numel is the number of elements: 1 for an empty shape.
func (t *Tensor) Numel() int { return Numel(t.Shape) }

// Numel is the number of elements of a shape.
func Numel(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// Bytes is the size of the data.
func (t *Tensor) Bytes() int { return t.Numel() * t.Type.Size() }

// Dim is the size of dimension i; negative i counts from the end.
func (t *Tensor) Dim(i int) int {
	if i < 0 {
		i += len(t.Shape)
	}
	return t.Shape[i]
}

// Matrix is the shape seen as a matrix: all leading dimensions by the last.
func (t *Tensor) Matrix() (rows, cols int) {
	rows, cols = 1, t.Dim(-1)
	for _, d := range t.Shape[:len(t.Shape)-1] {
		rows *= d
	}
	return rows, cols
}

// View is the same memory in another shape of as many elements.
func (t *Tensor) View(shape ...int) *Tensor {
	v := view(t.Buf, t.Off, t.Type, shape)
	if v.Numel() != t.Numel() {
		panic(fmt.Sprintf("tensor: view of %v as %v", t.Shape, shape))
	}
	return v
}

// Rows is the view of indices lo to hi-1 of the first dimension; all of them are
// t itself.
func (t *Tensor) Rows(lo, hi int) *Tensor {
	if lo < 0 || hi < lo || hi > t.Shape[0] {
		panic(fmt.Sprintf("tensor: rows %d:%d of %v", lo, hi, t.Shape))
	}
	if hi-lo == t.Shape[0] {
		return t
	}
	v := view(t.Buf, t.Off, t.Type, t.Shape)
	v.Shape[0] = hi - lo
	if t.Shape[0] > 0 {
		v.Off += lo * (t.Bytes() / t.Shape[0])
	}
	return v
}

// String is such as "bfloat16[4 128]".
func (t *Tensor) String() string {
	if t == nil {
		return "no tensor"
	}
	return fmt.Sprintf("%v%v", t.Type, t.Shape)
}
