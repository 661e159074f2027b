// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"octet/device"
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
)

func (u unit) String() string {
	return [...]string{"portable", "avx2", "avx512", "bf16dot", "fp16", "fp16 emulated"}[u]
}

// unitFor chooses by operand types. Every float8 and bf16 value is exact in
// bf16, so the bf16 dot takes them all where it is the fast one (AMD: twice
// f32; an Intel core has it at half of f32 and is AVX512FP16 here). fp16 sums
// are less exact, so they need leave.
func unitFor(isa ISA, a, b dtype.Type, fastAccum bool) unit {
	narrow := a != dtype.Float32 && b != dtype.Float32
	float8 := a.IsFloat8() && b.IsFloat8()
	if isa == AVX512BF16 && narrow {
		return unitBF16Dot
	}
	if isa == AVX512FP16 && float8 && fastAccum {
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

// panel is an operand as the kernels see it: along its rows (of op(a)) or
// columns (of op(b)), the lanes, and along k. One of the two is contiguous, ld
// elements separate neighbours on the other.
type panel struct {
	data        unsafe.Pointer
	lanes, k    int
	ld          int
	t           dtype.Type
	kContiguous bool
}

// product is one call of MatMul.
type product struct {
	unit           unit
	a, b           panel
	dst            unsafe.Pointer
	dstType        dtype.Type
	m, n           int
	scaleA, scaleB *float32 // nil: 1
	accumulate     bool
}

// rowsOf is the shape as a matrix: all leading dimensions by the last, which
// may be 0.
func rowsOf(t *tensor.Tensor) (rows, cols int) {
	rows = 1
	for _, d := range t.Shape[:len(t.Shape)-1] {
		rows *= d
	}
	return rows, t.Dim(-1)
}

func newPanel(t *tensor.Tensor, kFirst bool) panel {
	rows, cols := rowsOf(t)
	p := panel{data: ptr(t), lanes: rows, k: cols, ld: cols, t: t.Type, kContiguous: !kFirst}
	if kFirst {
		p.lanes, p.k = cols, rows
	}
	return p
}

func operandScale(o tensor.Operand) *float32 {
	if o.Scale == nil {
		return nil
	}
	if o.Scale.Type != dtype.Float32 || o.Scale.Numel() != 1 {
		panic(fmt.Sprintf("cpu: MatMul: the scale of %v must be one float32, not %v", o.Tensor, o.Scale))
	}
	return (*float32)(ptr(o.Scale))
}

// MatMul is dst = op(a)·op(b), or dst += op(a)·op(b); see device.Kernels. Sums
// are float32 over the whole of k, in an order that depends on nothing but k
// and the unit. Scales are read when the work runs.
func (s *Stream) MatMul(dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions) {
	p := newProduct(s.dev.isa, dst, a, b, o)
	s.do(func() { p.run(s) })
}

func newProduct(isa ISA, dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions) *product {
	isOperand := func(t *tensor.Tensor) bool { return len(t.Shape) > 0 && (isHP(t) || t.Type.IsFloat8()) }
	if !isOperand(a.Tensor) || !isOperand(b.Tensor) || !isHP(dst) || len(dst.Shape) == 0 {
		panic(fmt.Sprintf("cpu: MatMul: want dst [M,N] of high precision, a and b of high precision or float8; got %v = %v · %v", dst, a.Tensor, b.Tensor))
	}
	p := &product{
		unit: unitFor(isa, a.Type, b.Type, o.FastAccum),
		a:    newPanel(a.Tensor, o.TransA), b: newPanel(b.Tensor, !o.TransB),
		dst: ptr(dst), dstType: dst.Type,
		scaleA: operandScale(a), scaleB: operandScale(b),
		accumulate: o.Accumulate,
	}
	p.m, p.n = rowsOf(dst)
	if p.a.k != p.b.k || p.a.lanes != p.m || p.b.lanes != p.n {
		panic(fmt.Sprintf("cpu: MatMul: %v = op(%v) · op(%v) with TransA %t, TransB %t: op(a) is [%d,%d], op(b) [%d,%d]",
			dst, a.Tensor, b.Tensor, o.TransA, o.TransB, p.a.lanes, p.a.k, p.b.k, p.b.lanes))
	}
	return p
}

// A tile of dst is summed over the whole of k by one thread, which packs what
// it needs of a and b for itself. The largest tile bounds the workspace; one
// much smaller would spend its time packing.
const (
	tileRows    = 2048
	tileCols    = 512
	tileSteps   = 512 // words of k packed at a time
	minTileRows = 128
	colAlign    = 64
	rowAlign    = 16
)

// workspaceBytes holds a strip of a, tileCols columns of b, and the sums of a
// tile, the last rows of which may be padding.
const workspaceBytes = 4 * (rowAlign*tileSteps + tileCols*tileSteps + (tileRows+rowAlign)*tileCols)

// workspaceSlot is the stream's scratch slot of MatMul.
const workspaceSlot = 7

type tile struct{ row, rows, col, cols int }

// grid cuts dst into equal tiles, more of them for more threads.
type grid struct{ m, n, rows, cols int }

func newGrid(m, n, threads int) grid {
	split := func(n, parts, align int) int { return (count(n, parts) + align - 1) / align * align }
	byCols := count(n, tileCols)
	byRows := count(m, tileRows)
	if threads > 1 {
		byRows = max(byRows, min(count(2*threads, byCols), m/minTileRows))
	}
	return grid{m, n, split(m, byRows, rowAlign), split(n, byCols, colAlign)}
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
	g := newGrid(p.m, p.n, threads)
	threads = min(threads, g.tiles())
	memory := s.scratch.get(workspaceSlot, s.workers.threads*workspaceBytes).mem
	var next atomic.Int64
	s.workers.run(threads, func(i int) {
		workspace := memory[i*workspaceBytes : (i+1)*workspaceBytes]
		for {
			i := int(next.Add(1)) - 1
			if i >= g.tiles() {
				return
			}
			if p.unit == unitPortable {
				p.tilePortable(g.tile(i), workspace)
			} else {
				p.tileC(g.tile(i), workspace)
			}
		}
	})
}
