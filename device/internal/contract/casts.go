// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// Amax is Kernels.Amax's.
func (d Of) Amax(dst *tensor.Tensor, ts []*tensor.Tensor) {
	d.Hold(isF32(dst, len(ts)) && isHP(ts...), "Amax(dst float32 [n], n tensors of high precision)", append([]*tensor.Tensor{dst}, ts...)...)
}

// Scales is Kernels.Scales's.
func (d Of) Scales(scale, inv, amax *tensor.Tensor, formats []dtype.Type) {
	n := amax.Numel()
	d.Hold(isF32(scale, n) && isF32(inv, n) && isF32(amax, n) && (len(formats) == 1 || len(formats) == n),
		"Scales(scale, inv, amax float32 [n], 1 or n formats)", scale, inv, amax)
}

// Made is the first of a cast's two results that is not empty.
func Made(dst, dstT tensor.Operand) tensor.Operand {
	if dst.Tensor == nil {
		return dstT
	}
	return dst
}

// Known is the amax that a dynamic cast of src to an operand with to's scale need not take; nil: it must.
func Known(to, src tensor.Operand) *tensor.Tensor {
	if src.Amax == nil || src.Inv != nil || to.Granularity() != tensor.PerTensor {
		return nil
	}
	return src.Amax
}

// Cast is Kernels.Cast's. It reports whether the cast widens: from float8 to high
// precision.
func (d Of) Cast(dst, dstT, src tensor.Operand) (widens bool) {
	widens = dst.Tensor != nil && dstT.Tensor == nil && isHP(dst.Tensor) && dst.Scale == nil && src.Tensor != nil && src.Type.IsFloat8()
	if !widens {
		d.cast(dst, dstT, src)
		return false
	}
	d.Hold(sameNumel(dst.Tensor, src.Tensor) && !dst.Transposed && !src.Transposed, "a cast to high precision of equal numel, as it lies", dst.Tensor, src.Tensor)
	src.Granularity() // panics if no scale has this shape
	return true
}

// cast is that of every cast to float8.
func (d Of) cast(dst, dstT, src tensor.Operand) {
	to := Made(dst, dstT)
	ok := src.Tensor != nil && to.Tensor != nil && !src.Transposed && !dst.Transposed &&
		(isHP(src.Tensor) && src.Scale == nil || src.Type.IsFloat8())
	if ok && dst.Tensor != nil {
		ok = dst.Type.IsFloat8() && sameNumel(dst.Tensor, src.Tensor)
	}
	if ok && dstT.Tensor != nil {
		ok = dstT.Transposed && dstT.Type.IsFloat8() && sameValue(dstT, src)
	}
	if ok && dst.Tensor != nil && dstT.Tensor != nil {
		ok = dst.Type == dstT.Type && same(dst.Scale, dstT.Scale) && same(dst.Inv, dstT.Inv)
	}
	d.Hold(ok, "a cast (dst float8 of equal numel, dstT its transpose with the same scale, src high precision with at most an Inv, or float8, as it lies)",
		dst.Tensor, dst.Scale, dstT.Tensor, dstT.Scale, src.Tensor, src.Scale)
	whole := src.Granularity() == tensor.PerTensor && to.Granularity() == tensor.PerTensor
	d.Hold(whole || sameValue(to, src), "a cast with a scale a row or a column, of one matrix", to.Tensor, to.Scale, src.Tensor, src.Inv)
	d.Hold(whole || isHP(src.Tensor), "a cast of float8 to float8 with scales for the whole tensor", to.Tensor, to.Scale, src.Tensor, src.Scale)
}

// DynamicCast is Kernels.DynamicCast's.
func (d Of) DynamicCast(dst, dstT, src tensor.Operand) {
	d.cast(dst, dstT, src)
	to := Made(dst, dstT)
	d.Hold(isHP(src.Tensor) && to.Scale != nil && to.Inv != nil, "DynamicCast of high precision, with a scale and a reciprocal to write", src.Tensor, to.Scale, to.Inv)
	d.amax(src.Amax)
}

// RecordCast is Kernels.RecordCast's.
func (d Of) RecordCast(dst, dstT, src, given tensor.Operand, record *tensor.Tensor) {
	d.cast(dst, dstT, src)
	to := Made(dst, dstT)
	scalar := func(t *tensor.Tensor) bool { return t != nil && isF32(t, 1) }
	d.Hold(isHP(src.Tensor) && src.Inv == nil && scalar(to.Scale) && scalar(to.Inv) && scalar(given.Scale) && scalar(given.Inv) && (record == nil || scalar(record)),
		"RecordCast of high precision, with scales and reciprocals of one number to read and to write, and a record float32 [] or none", src.Tensor, to.Scale, to.Inv)
}

// SyncHistories is Kernels.SyncHistories's.
func (d Of) SyncHistories(h device.AmaxHistories) {
	n := h.Record.Numel()
	d.Hold(isF32(h.Record, n) && isF32(h.Amax, n) && isF32(h.Scale, n) && isF32(h.Inv, n) && isI32(h.NotFinite, n) &&
		len(h.History.Shape) == 2 && h.History.Shape[0] == n && h.History.Shape[1] > 0 && h.History.Type == dtype.Float32 && (len(h.Formats) == 1 || len(h.Formats) == n),
		"SyncHistories(record, amax, scale, inv float32 [n], history float32 [n,H], count int32 [n], 1 or n formats)", h.Record, h.Amax, h.Scale, h.Inv, h.History, h.NotFinite)
}

// CastStats is Kernels.CastStats's.
func (d Of) CastStats(maxima, sums *tensor.Tensor, src, q tensor.Operand) {
	d.Hold(isF32(maxima, device.NumCastMaxima) && isF32(sums, device.NumCastSums) && src.Tensor != nil && q.Tensor != nil &&
		isHP(src.Tensor) && !src.Transposed && src.Scale == nil && q.Type.IsFloat8() && (q.Scale == nil) == (q.Inv == nil) && sameValue(q, src),
		"CastStats(maxima float32 [3], sums float32 [5], src [R,C] of high precision with at most an Inv, q its cast)", maxima, sums, src.Tensor, q.Tensor)
}

// Transpose is Kernels.Transpose's.
func (d Of) Transpose(dst, src *tensor.Tensor) {
	rows, cols := src.Matrix()
	r, c := dst.Matrix()
	size := src.Type.Size()
	d.Hold(dst.Type == src.Type && r == cols && c == rows && (size == 1 || size == 2 || size == 4), "Transpose(dst [C,R], src [R,C]) of one type of 1, 2 or 4 bytes", dst, src)
}

// sameValue reports whether two operands are matrices of one shape.
func sameValue(a, b tensor.Operand) bool {
	rows, cols := a.Value()
	r, c := b.Value()
	return r == rows && c == cols
}

// amax is what every kernel wants of an amax beside what it makes.
func (d Of) amax(ts ...*tensor.Tensor) {
	for _, t := range ts {
		d.Hold(t == nil || isF32(t, 1), "an amax float32 [] or none", t)
	}
}

// same reports whether a and b are one tensor, or both left out.
func same(a, b *tensor.Tensor) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Buf == b.Buf && a.Off == b.Off && sameShape(a, b)
}
