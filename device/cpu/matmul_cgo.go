// SPDX-License-Identifier: Apache-2.0

//go:build cgo && amd64

package cpu

/*
#cgo noescape octet_matmul_tile
#cgo nocallback octet_matmul_tile
#cgo noescape octet_matmul_amx
#cgo nocallback octet_matmul_amx
#cgo noescape octet_pack_amx_all
#cgo nocallback octet_pack_amx_all
#include "matmul_amx.h"
*/
import "C"

import (
	"unsafe"

	"octet/device"
)

func (u unit) c() *C.struct_matmul_unit {
	switch u {
	case unitFP16:
		return C.octet_matmul_unit_fp16()
	case unitFP16Emulated:
		return C.octet_matmul_unit_fp16_emulated()
	case unitBF16Dot:
		return C.octet_matmul_unit_bf16dot()
	case unitAVX512:
		return C.octet_matmul_unit_avx512()
	default:
		return C.octet_matmul_unit_avx2()
	}
}

func (p panel) c() C.struct_matmul_source {
	s := C.struct_matmul_source{data: p.data, lanes: C.int64_t(p.lanes), k: C.int64_t(p.k), ld: C.int64_t(p.ld), _type: C.int32_t(p.t)}
	s.inv = (*C.float)(p.inv)
	if p.kContiguous {
		s.k_contiguous = 1
	}
	if p.invs {
		s.invs = 1
	}
	return s
}

// tileC computes one tile in C.
func (p *product) tileC(t tile, workspace []byte) {
	args := C.struct_matmul{
		a: p.a.c(), b: p.b.c(), dst: p.dst,
		m: C.int64_t(p.m), n: C.int64_t(p.n),
		dst_type: C.int32_t(p.dstType),
	}
	if p.accumulate {
		args.accumulate = 1
	}
	args.a_packed, args.b_packed = (*C.uint32_t)(p.packedA), (*C.uint32_t)(p.packedB)
	row, rows, col, cols, memory := C.int64_t(t.row), C.int64_t(t.rows), C.int64_t(t.col), C.int64_t(t.cols), unsafe.Pointer(unsafe.SliceData(workspace))
	switch p.unit {
	case unitAMX:
		C.octet_matmul_amx(C.octet_amx(), &args, row, rows, col, cols, memory)
	case unitAMXEmulated:
		C.octet_matmul_amx(C.octet_amx_emulated(), &args, row, rows, col, cols, memory)
	default:
		C.octet_matmul_tile(p.unit.c(), &args, row, rows, col, cols, memory)
	}
}

// packedBytes is the size of an operand when AMX has packed all of it.
func (p *panel) packedBytes() int {
	lanes, k := (p.lanes+2*rowAlign-1)/(2*rowAlign)*2*rowAlign, (p.k+amxTileK-1)/amxTileK*amxTileK
	return 2 * lanes * k
}

// packAll packs an operand, each lanes of it by one thread.
func (s *Stream) packAll(to slot, side C.enum_side, p *panel, each int) unsafe.Pointer {
	memory := unsafe.Pointer(unsafe.SliceData(s.scratch.get(to, max(1, p.packedBytes())).mem))
	source := p.c()
	s.workers.run(count(p.lanes, each), func(i int) {
		C.octet_pack_amx_all(side, (*C.uint32_t)(memory), &source, C.int64_t(i*each), C.int64_t(min(each, p.lanes-i*each)))
	})
	return memory
}

// packA packs all of op(a) once, where several columns of tiles would each pack it again: two, or eight if k is contiguous, because
// what is packed comes back from memory, twice as long as float8. More than mostPacked bytes are not kept.
func (s *Stream) packA(p *product, g grid) {
	const each, mostPacked = 128, 1 << 26
	few := 2
	if p.a.kContiguous {
		few = 8
	}
	if count(g.n, g.cols) >= few && p.a.packedBytes() <= mostPacked {
		p.packedA = s.packAll(slotPackedA, C.SIDE_A, &p.a, each)
	}
}

// packSeries packs all of op(b) as the tiles of a grid read it, or has done so for the product before. Where a has many rows, each
// product's tiles pack it: that takes less than to write all of it to memory and to read it again.
func (s *Stream) packSeries(p *product, g grid) {
	const many = 512
	if p.series == device.First {
		s.packedOf = panel{} // its values may be others
	}
	if p.m >= many {
		return
	}
	if s.packedOf == p.b {
		p.packedB = unsafe.Pointer(unsafe.SliceData(s.scratch.get(slotPackedB, 0).mem))
		return
	}
	s.packedOf = p.b
	p.packedB = s.packAll(slotPackedB, C.SIDE_B, &p.b, g.cols)
}
