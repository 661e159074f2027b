// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"octet/device"
	"octet/device/internal/contract"
	"octet/dtype"
	"octet/tensor"
)

// unit is an arithmetic unit that multiplies matrices. docs/kernels.md has the
// measurements behind the choice.
type unit int

const (
	unitPortable     unit = iota // Go, f32
	unitAVX2                     // f32 FMA, 8 lanes
	unitAVX512                   // f32 FMA, 16 lanes
	unitBF16Dot                  // exact products of bf16 pairs, f32 sums
	unitFP16                     // fp16 FMA in chunks of 64, f32 between chunks
	unitFP16Emulated             // the same on any AVX-512; slow, for tests
	unitAMX                      // tiles of bf16 pairs, f32 sums
	unitAMXEmulated              // the same on any AVX-512; slow, for tests
)

// unitFor chooses by operand types. Every float8 and bf16 value is exact in
// bf16, so AMX takes them all, and so does the bf16 dot where it is the fast one
// (AMD: twice f32; an Intel core has it at half of f32 and is AVX512FP16 here).
// fp16 sums are less exact, so they need leave.
func unitFor(isa ISA, a, b dtype.Type, fastAccum bool) unit {
	narrow := a != dtype.Float32 && b != dtype.Float32
	float8 := a.IsFloat8() && b.IsFloat8()
	switch {
	case isa == AMXBF16 && narrow:
		return unitAMX
	case isa == AVX512BF16 && narrow:
		return unitBF16Dot
	case isa == AVX512FP16 && float8 && fastAccum:
		return unitFP16
	}
	if isa >= AVX512 {
		return unitAVX512
	}
	if isa == AVX2 {
		return unitAVX2
	}
	return unitPortable
}

func (u unit) isAMX() bool { return u == unitAMX || u == unitAMXEmulated }

// panel is an operand as the kernels see it: along its rows (of op(a)) or
// columns (of op(b)), the lanes, and along k. One of the two is contiguous, ld
// elements separate neighbours on the other.
type panel struct {
	inv         *float32 // the reciprocal of the scale, or the first lane's; nil: 1
	invs        bool     // each lane has its own
	data        unsafe.Pointer
	lanes, k    int
	ld          int
	t           dtype.Type
	kContiguous bool
}

// product is one call of MatMul.
type product struct {
	unit       unit
	a, b       panel
	dst        unsafe.Pointer
	dstType    dtype.Type
	m, n       int
	accumulate bool
	series     device.Series
	packedA    unsafe.Pointer // all of op(a), packed for AMX; nil: each tile packs what it needs
	packedB    unsafe.Pointer // all of op(b)
}

// newPanel is an operand with what the contract says of it.
func newPanel(x tensor.Operand, side contract.Side) panel {
	p := panel{data: ptr(x.Tensor), t: x.Type, lanes: side.Lanes, k: side.K, ld: side.LD, kContiguous: side.KContiguous, invs: side.Each}
	if side.Inv != nil {
		p.inv = (*float32)(ptr(side.Inv))
	}
	return p
}

// MatMul is dst = op(a)·op(b), or dst += op(a)·op(b); see device.Kernels. Sums
// are float32 over the whole of k, in an order that depends on nothing but k
// and the unit. Reciprocals are read when the work runs.
func (s *Stream) MatMul(dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions) {
	p := newProduct(s.dev, dst, a, b, o)
	s.do(func() { p.run(s) })
}

// Float8TN reports what cpu.Options asked for; see device.Kernels.
func (s *Stream) Float8TN() bool { return s.dev.float8TN }

func newProduct(dev *Device, dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions) *product {
	x, y := must.MatMul(dst, a, b, o)
	p := &product{
		unit: unitFor(dev.isa, a.Type, b.Type, o.FastAccum),
		a:    newPanel(a, x), b: newPanel(b, y),
		dst: ptr(dst), dstType: dst.Type,
		accumulate: o.Accumulate, series: o.Series,
	}
	p.m, p.n = dst.Matrix()
	if dev.float8TN && !(p.a.readsTN() && p.b.readsTN()) {
		panic(fmt.Sprintf("cpu: MatMul: %v · %v with TransA %t, TransB %t: this device reads float8 only where the summed dimension, here of %d, is contiguous",
			a, b, o.TransA, o.TransB, p.a.k))
	}
	return p
}

// readsTN reports whether a device that is Float8TN takes the operand.
func (p *panel) readsTN() bool { return !p.t.IsFloat8() || p.kContiguous }

// A tile of dst is summed over the whole of k by one thread, which packs what
// it needs of a and b for itself. The largest tile bounds the workspace; one
// much smaller would spend its time packing.
const (
	tileRows      = 2048
	tileCols      = 512
	tileSteps     = 512 // words of k packed at a time
	amxTileK      = 32  // elements of k in a tile of AMX
	amxBlockTiles = 64  // of them packed of op(b) at a time
	minTileRows   = 128
	colAlign      = 64
	rowAlign      = 16
)

// workspaceBytes holds a strip of a, tileCols columns of b, and the sums of a
// tile, the last rows of which may be padding.
const workspaceBytes = 4 * (rowAlign*tileSteps + tileCols*tileSteps + (tileRows+rowAlign)*tileCols)

type tile struct{ row, rows, col, cols int }

// amxTileCols is how many columns of op(b) AMX packs for a tile: what 1 MiB, in
// words of two, holds of k, or of the part of it that is packed at a time.
func amxTileCols(k int) int {
	const words, most = 1 << 18, 2048
	steps := min((k+amxTileK-1)/amxTileK, amxBlockTiles) * amxTileK / 2
	return min(most, words/max(1, steps)/colAlign*colAlign)
}

// grid cuts dst into equal tiles, more of them for more threads.
type grid struct{ m, n, rows, cols int }

func (p *product) grid(threads int) grid {
	split := func(n, parts, align int) int { return (count(n, parts) + align - 1) / align * align }
	most, align := tileCols, rowAlign
	if p.unit.isAMX() {
		most, align = amxTileCols(p.a.k), 2*rowAlign
	}
	byCols := count(p.n, most)
	byRows := count(p.m, tileRows)
	if threads > 1 {
		byRows = max(byRows, min(count(2*threads, byCols), p.m/minTileRows))
	}
	return grid{p.m, p.n, split(p.m, byRows, align), split(p.n, byCols, colAlign)}
}

func (g grid) tiles() int { return count(g.m, g.rows) * count(g.n, g.cols) }

// tile i is column-major, so that neighbours share the columns of b.
func (g grid) tile(i int) tile {
	down := count(g.m, g.rows)
	t := tile{row: i % down * g.rows, col: i / down * g.cols}
	t.rows, t.cols = min(g.rows, g.m-t.row), min(g.cols, g.n-t.col)
	return t
}

func (p *product) run(s *Stream) {
	if p.m == 0 || p.n == 0 {
		return
	}
	threads := s.workers.threads
	g := p.grid(threads)
	threads = min(threads, g.tiles())
	if p.unit.isAMX() {
		s.packA(p, g)
		if p.series != device.Alone {
			s.packSeries(p, g)
		}
	}
	memory := s.scratch.get(slotTiles, s.workers.threads*workspaceBytes).mem
	if threads == 1 { // without the closure
		for i := range g.tiles() {
			p.tile(g.tile(i), memory[:workspaceBytes])
		}
		return
	}
	var next atomic.Int64
	s.workers.run(threads, func(i int) {
		workspace := memory[i*workspaceBytes : (i+1)*workspaceBytes]
		for {
			i := int(next.Add(1)) - 1
			if i >= g.tiles() {
				return
			}
			p.tile(g.tile(i), workspace)
		}
	})
}

// tile computes one tile of dst.
func (p *product) tile(t tile, workspace []byte) {
	if p.unit == unitPortable {
		p.tilePortable(t, workspace)
	} else {
		p.tileC(t, workspace)
	}
}
