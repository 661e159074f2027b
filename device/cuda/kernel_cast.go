// SPDX-License-Identifier: Apache-2.0

package cuda

import (
	"octet/device"
	"octet/device/internal/contract"
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
	must.Amax(dst, ts)
	if len(ts) == 0 {
		return
	}
	k.Zero(dst)
	l := k.begin(kAmax).dst(dst)
	k.over(l, k.list(l, []bool{false}, ts))
}

// clear readies an amax that the next kernel raises, where it is wanted.
func (k *kernels) clear(amax *tensor.Tensor) {
	if amax != nil {
		k.Zero(amax)
	}
}

// Scales turns amaxes into scales and reciprocals; see device.Kernels.
func (k *kernels) Scales(scale, inv, amax *tensor.Tensor, formats []dtype.Type, pow2 bool) {
	must.Scales(scale, inv, amax, formats)
	each, one := k.formats(formats)
	k.each(k.begin(kScales).dst(scale).dst(inv).src(amax).src(each).u32(int(one)).bool(pow2), amax.Numel(), 1)
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
	must.Cast(dst, dstT, src)
	k.cast(dst, dstT, src, nil, tensor.Operand{})
}

// cast casts by the scale that dst has, or by given's, which it then receives, and raises
// a record where there is one.
func (k *kernels) cast(dst, dstT, src tensor.Operand, record *tensor.Tensor, given tensor.Operand) {
	to := contract.Made(dst, dstT)
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
	must.DynamicCast(dst, dstT, src)
	to := contract.Made(dst, dstT)
	rows, cols := src.Matrix()
	fold, flags := foldOf(src)
	g := to.Granularity()
	if g == tensor.PerRow && dstT.Tensor == nil {
		l := k.begin(kCastRows).dst(dst.Tensor).src(src.Tensor).src(fold).dst(to.Scale).dst(to.Inv).u64(rows).u64(cols).u32(flags).bool(pow2)
		k.over(l.held(cols, 1), rows)
		return
	}
	amaxes := to.Scale // where the scales will be
	known := contract.Known(to, src)
	if g != tensor.PerRow && known == nil {
		k.Zero(amaxes)
	}
	switch {
	case known != nil:
		amaxes = known
	case g == tensor.PerRow:
		k.over(k.begin(kAmaxRows).dst(to.Scale).src(src.Tensor).src(fold).u64(rows).u64(cols).u32(flags), rows)
	case g == tensor.PerColumn:
		k.over(k.begin(kAmaxCols).dst(to.Scale).src(src.Tensor).src(fold).u64(rows).u64(cols).u32(flags), count(cols, 256)*count(rows, 128))
	default:
		k.each(k.begin(kAmaxWhole).dst(to.Scale).src(src.Tensor).src(fold).u64(cols).u32(flags), src.Numel(), 8)
	}
	k.each(k.begin(kScales).dst(to.Scale).dst(to.Inv).src(amaxes).src(nil).u32(int(to.Type)).bool(pow2), to.Scale.Numel(), 1)
	k.cast(dst, dstT, src, nil, tensor.Operand{})
}

// RecordCast casts src by a given scale and records its amax; see device.Kernels.
func (k *kernels) RecordCast(dst, dstT, src, given tensor.Operand, record *tensor.Tensor) {
	must.RecordCast(dst, dstT, src, given, record)
	k.cast(dst, dstT, src, record, given)
}

// SyncHistories moves records to histories; see device.Kernels.
func (k *kernels) SyncHistories(h device.AmaxHistories) {
	n := h.Record.Numel()
	must.SyncHistories(h)
	each, one := k.formats(h.Formats)
	l := k.begin(kSyncHistories).dst(h.Record).dst(h.Amax).dst(h.History).dst(h.Scale).dst(h.Inv).dst(h.NotFinite).src(each).u32(int(one))
	k.each(l.u64(h.History.Shape[1]).bool(h.Pow2), n, 1)
}

// CastStats measures what a cast did to src; see device.Kernels.
func (k *kernels) CastStats(maxima, sums *tensor.Tensor, src, q tensor.Operand) {
	must.CastStats(maxima, sums, src, q)
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
	must.Transpose(dst, src)
	which := map[int]kernel{1: kTranspose1, 2: kTranspose2, 4: kTranspose4}[src.Type.Size()]
	k.over(k.begin(which).dst(dst).src(src).u64(rows).u64(cols), count(rows, castTile)*count(cols, castTile))
}
