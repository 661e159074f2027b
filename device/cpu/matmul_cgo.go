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
	packed := (*C.uint32_t)(p.packed)
	if packed != nil {
		packed = (*C.uint32_t)(unsafe.Add(p.packed, 4*t.col*p.b.laneWords()))
	}
	row, rows, col, cols, memory := C.int64_t(t.row), C.int64_t(t.rows), C.int64_t(t.col), C.int64_t(t.cols), unsafe.Pointer(unsafe.SliceData(workspace))
	switch p.unit {
	case unitAMX:
		C.octet_matmul_amx(C.octet_amx(), &args, row, rows, col, cols, packed, memory)
	case unitAMXEmulated:
		C.octet_matmul_amx(C.octet_amx_emulated(), &args, row, rows, col, cols, packed, memory)
	default:
		C.octet_matmul_tile(p.unit.c(), &args, row, rows, col, cols, memory)
	}
}

// laneWords is how many words AMX's packing has for a lane.
func (p *panel) laneWords() int { return (p.k + amxTileK - 1) / amxTileK * amxTileK / 2 }

// packSeries packs all of op(b) as the tiles of a grid read it, or has done so for the product before.
func (s *Stream) packSeries(p *product, g grid) unsafe.Pointer {
	words := p.b.laneWords()
	lanes := (p.n + 2*rowAlign - 1) / (2 * rowAlign) * 2 * rowAlign
	memory := unsafe.Pointer(unsafe.SliceData(s.scratch.get(slotPacked, max(4, 4*lanes*words)).mem))
	if p.series == device.Next && s.packedOf == p.b {
		return memory
	}
	s.packedOf = p.b
	source := p.b.c()
	columns := count(g.n, g.cols)
	s.workers.run(min(s.workers.threads, columns), func(first int) {
		for i := first; i < columns; i += min(s.workers.threads, columns) {
			col := i * g.cols
			C.octet_pack_amx_all((*C.uint32_t)(unsafe.Add(memory, 4*col*words)), &source, C.int64_t(col), C.int64_t(min(g.cols, g.n-col)))
		}
	})
	return memory
}
