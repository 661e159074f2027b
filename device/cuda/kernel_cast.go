// SPDX-License-Identifier: Apache-2.0

package cuda

import (
	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// The flags of a cast's factors; cast.h has the same.
const (
	foldRows = 1 << iota
	foldCols
	foldDivides
	scaleRows
	scaleCols
)

// foldOf is what src is multiplied by, or divided, before a cast.
func foldOf(src tensor.Operand) (fold *tensor.Tensor, flags int) {
	fold, flags = src.Inv, granular(src, foldRows, foldCols)
	if src.Scale != nil {
		fold, flags = src.Scale, flags|foldDivides
	}
	return fold, flags
}

// granular is the flag of an operand whose scale is a row's or a column's.
func granular(o tensor.Operand, row, col int) int {
	switch o.Granularity() {
	case tensor.PerRow:
		return row
	case tensor.PerColumn:
		return col
	}
	return 0
}

// Amax stores the largest |x| of each tensor; see device.Kernels.
func (k *kernels) Amax(dst *tensor.Tensor, ts []*tensor.Tensor) {
	must(isF32(dst, len(ts)) && isHP(ts...), "Amax(dst float32 [n], n tensors of high precision)", append([]*tensor.Tensor{dst}, ts...)...)
	if len(ts) == 0 {
		return
	}
	k.Zero(dst)
	l := k.begin(kAmax).dst(dst)
	k.over(l, k.list(l, []bool{false}, ts))
}

// Scales turns amaxes into scales and reciprocals; see device.Kernels.
func (k *kernels) Scales(scale, inv, amax *tensor.Tensor, formats []dtype.Type, pow2 bool) {
	n := amax.Numel()
	must(isF32(scale, n) && isF32(inv, n) && isF32(amax, n) && (len(formats) == 1 || len(formats) == n),
		"Scales(scale, inv, amax float32 [n], 1 or n formats)", scale, inv, amax)
	each, one := k.formats(formats)
	k.each(k.begin(kScales).dst(scale).dst(inv).src(amax).src(each).u32(int(one)).bool(pow2), n, 1)
}

// formats is a table of types where they differ, and otherwise the one.
func (k *kernels) formats(list []dtype.Type) (each *tensor.Tensor, one dtype.Type) {
	if len(list) == 1 {
		return nil, list[0]
	}
	words := make([]uint64, count(len(list), 2))
	for i, t := range list {
		words[i/2] |= uint64(t) << (i % 2 * 32)
	}
	return k.table(words), dtype.Invalid
}

// Cast is dst = encode(f32(src)·scale), in either layout; see device.Kernels.
func (k *kernels) Cast(dst, dstT, src tensor.Operand) {
	widens := dst.Tensor != nil && dstT.Tensor == nil && isHP(dst.Tensor) && dst.Scale == nil && src.Tensor != nil && src.Type.IsFloat8()
	if widens {
		must(sameNumel(dst.Tensor, src.Tensor) && !dst.Transposed && !src.Transposed, "a cast to high precision of equal numel, as it lies", dst.Tensor, src.Tensor)
	} else {
		checkCast(dst, dstT, src)
	}
	k.cast(dst, dstT, src, nil, tensor.Operand{})
}

// made is the first of a cast's two results that is not empty.
func made(dst, dstT tensor.Operand) tensor.Operand {
	if dst.Tensor == nil {
		return dstT
	}
	return dst
}

func checkCast(dst, dstT, src tensor.Operand) {
	to := made(dst, dstT)
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
	must(ok, "a cast (dst float8 of equal numel, dstT its transpose with the same scale, src high precision with at most an Inv, or float8, as it lies)",
		dst.Tensor, dst.Scale, dstT.Tensor, dstT.Scale, src.Tensor, src.Scale)
	whole := src.Granularity() == tensor.PerTensor && to.Granularity() == tensor.PerTensor
	must(whole || sameValue(to, src), "a cast with a scale a row or a column, of one matrix", to.Tensor, to.Scale, src.Tensor, src.Inv)
	must(whole || isHP(src.Tensor), "a cast of float8 to float8 with scales for the whole tensor", to.Tensor, to.Scale, src.Tensor, src.Scale)
}

// sameValue reports whether two operands are matrices of one shape.
func sameValue(a, b tensor.Operand) bool {
	rows, cols := a.Value()
	r, c := b.Value()
	return r == rows && c == cols
}

// same reports whether a and b are one tensor, or both left out.
func same(a, b *tensor.Tensor) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Buf == b.Buf && a.Off == b.Off && a.Numel() == b.Numel()
}

// cast casts by the scale that dst has, or by given's, which it then receives, and raises
// a record where there is one.
func (k *kernels) cast(dst, dstT, src tensor.Operand, record *tensor.Tensor, given tensor.Operand) {
	to := made(dst, dstT)
	rows, cols := src.Matrix()
	fold, flags := foldOf(src)
	scale, scaleOut, invOut := to.Scale, to.Scale, to.Inv
	if given.Scale == nil {
		scaleOut, invOut = nil, nil
		flags |= granular(to, scaleRows, scaleCols)
	} else {
		scale = given.Scale
	}
	if dstT.Tensor == nil {
		l := k.begin(kCast).dst(dst.Tensor).src(src.Tensor).src(fold).src(scale).u64(cols).u32(flags)
		k.castOver(l.dst(record).dst(scaleOut).dst(invOut).src(given.Inv), count(src.Numel(), 8*256), scaleOut != nil)
		return
	}
	l := k.begin(kCastTransposed).dst(dst.Tensor).dst(dstT.Tensor).src(src.Tensor).src(fold).src(scale).u64(rows).u64(cols).u32(flags)
	k.castOver(l.dst(record).dst(scaleOut).dst(invOut).src(given.Inv), count(rows, castTile)*count(cols, castTile), scaleOut != nil)
}

// castTile is the rows and columns that a block transposes at a time.
const castTile = 64

// castOver launches a cast, at least one block where it hands on a scale.
func (k *kernels) castOver(l *launch, n int, always bool) {
	if always {
		n = max(n, 1)
	}
	k.over(l, n)
}

// DynamicCast scales src by its own amaxes and casts it; see device.Kernels.
func (k *kernels) DynamicCast(dst, dstT, src tensor.Operand, pow2 bool) {
	checkCast(dst, dstT, src)
	to := made(dst, dstT)
	must(isHP(src.Tensor) && to.Scale != nil && to.Inv != nil, "DynamicCast of high precision, with a scale and a reciprocal to write", src.Tensor, to.Scale, to.Inv)
	rows, cols := src.Matrix()
	fold, flags := foldOf(src)
	g := to.Granularity()
	if g == tensor.PerRow && dstT.Tensor == nil {
		l := k.begin(kCastRows).dst(dst.Tensor).src(src.Tensor).src(fold).dst(to.Scale).dst(to.Inv).u64(rows).u64(cols).u32(flags).bool(pow2)
		k.over(l.held(cols, 1), rows)
		return
	}
	// The amaxes stand where the scales will.
	if g != tensor.PerRow {
		k.Zero(to.Scale)
	}
	switch g {
	case tensor.PerRow:
		k.over(k.begin(kAmaxRows).dst(to.Scale).src(src.Tensor).src(fold).u64(rows).u64(cols).u32(flags), rows)
	case tensor.PerColumn:
		k.over(k.begin(kAmaxCols).dst(to.Scale).src(src.Tensor).src(fold).u64(rows).u64(cols).u32(flags), count(cols, 256)*count(rows, 128))
	default:
		k.each(k.begin(kAmaxWhole).dst(to.Scale).src(src.Tensor).src(fold).u64(cols).u32(flags), src.Numel(), 8)
	}
	k.each(k.begin(kScales).dst(to.Scale).dst(to.Inv).src(to.Scale).src(nil).u32(int(to.Type)).bool(pow2), to.Scale.Numel(), 1)
	k.cast(dst, dstT, src, nil, tensor.Operand{})
}

// RecordCast casts src by a given scale and records its amax; see device.Kernels.
func (k *kernels) RecordCast(dst, dstT, src, given tensor.Operand, record *tensor.Tensor) {
	checkCast(dst, dstT, src)
	to := made(dst, dstT)
	scalar := func(t *tensor.Tensor) bool { return t != nil && isF32(t, 1) }
	must(isHP(src.Tensor) && src.Inv == nil && scalar(to.Scale) && scalar(to.Inv) && scalar(given.Scale) && scalar(given.Inv) && (record == nil || scalar(record)),
		"RecordCast of high precision, with scales and reciprocals of one number to read and to write, and a record float32 [] or none", src.Tensor, to.Scale, to.Inv)
	k.cast(dst, dstT, src, record, given)
}

// SyncHistories moves records to histories; see device.Kernels.
func (k *kernels) SyncHistories(h device.AmaxHistories) {
	n := h.Record.Numel()
	must(isF32(h.Record, n) && isF32(h.Amax, n) && isF32(h.Scale, n) && isF32(h.Inv, n) && h.NotFinite.Type == dtype.Int32 && h.NotFinite.Numel() == n &&
		len(h.History.Shape) == 2 && h.History.Shape[0] == n && h.History.Shape[1] > 0 && h.History.Type == dtype.Float32 && (len(h.Formats) == 1 || len(h.Formats) == n),
		"SyncHistories(record, amax, scale, inv float32 [n], history float32 [n,H], count int32 [n], 1 or n formats)", h.Record, h.Amax, h.Scale, h.Inv, h.History, h.NotFinite)
	each, one := k.formats(h.Formats)
	l := k.begin(kSyncHistories).dst(h.Record).dst(h.Amax).dst(h.History).dst(h.Scale).dst(h.Inv).dst(h.NotFinite).src(each).u32(int(one))
	k.each(l.u64(h.History.Shape[1]).bool(h.Pow2), n, 1)
}

// CastStats measures what a cast did to src; see device.Kernels.
func (k *kernels) CastStats(maxima, sums *tensor.Tensor, src, q tensor.Operand) {
	must(isF32(maxima, device.NumCastMaxima) && isF32(sums, device.NumCastSums) && src.Tensor != nil && q.Tensor != nil &&
		isHP(src.Tensor) && !src.Transposed && src.Scale == nil && q.Type.IsFloat8() && (q.Scale == nil) == (q.Inv == nil) && sameValue(q, src),
		"CastStats(maxima float32 [3], sums float32 [5], src [R,C] of high precision with at most an Inv, q its cast)", maxima, sums, src.Tensor, q.Tensor)
	rows, cols := src.Value()
	blocks := min(128, 1+rows*cols/8192) // whatever the device: their sums are rounded
	fold, flags := foldOf(src)
	flags |= granular(q, scaleRows, scaleCols)
	partial := k.scratch(slotPartial, dtype.Uint8, 8*device.NumCastSums*blocks)
	l := k.begin(kCastStats).dst(maxima).dst(partial).src(src.Tensor).src(fold).src(q.Tensor).src(q.Scale).src(q.Inv)
	k.blocks(l.u64(rows).u64(cols).u32(flags).bool(q.Transposed), blocks)
	k.once(k.begin(kCastStatsSum).dst(sums).src(partial).u32(blocks))
}

// Transpose is dst = srcᵀ; see device.Kernels.
func (k *kernels) Transpose(dst, src *tensor.Tensor) {
	rows, cols := src.Matrix()
	r, c := dst.Matrix()
	size := src.Type.Size()
	must(dst.Type == src.Type && r == cols && c == rows && (size == 1 || size == 2 || size == 4), "Transpose(dst [C,R], src [R,C]) of one type of 1, 2 or 4 bytes", dst, src)
	which := map[int]kernel{1: kTranspose1, 2: kTranspose2, 4: kTranspose4}[size]
	k.over(k.begin(which).dst(dst).src(src).u64(rows).u64(cols), count(rows, castTile)*count(cols, castTile))
}
