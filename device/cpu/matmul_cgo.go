// SPDX-License-Identifier: Apache-2.0

//go:build cgo && amd64

package cpu

/*
#cgo noescape octet_matmul_tile
#cgo nocallback octet_matmul_tile
#cgo noescape octet_matmul_amx
#cgo nocallback octet_matmul_amx
#include "matmul_amx.h"
*/
import "C"

import "unsafe"

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
