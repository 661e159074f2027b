// SPDX-License-Identifier: Apache-2.0

// Tensor cores, and how their operands reach registers. A fragment is a matrix of bfloat16
// or float32 that the lanes of a warp hold together, as the PTX ISA has it for
// mma.m16n8k16: lane 4g+t has of a [16,16] the pairs of columns 2t and 2t+8 of rows g and
// g+8, of b [16,8] the same pairs of rows in column g, and of c and d [16,8] columns 2t
// and 2t+1 of rows g and g+8.

#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)

// mma_bf16_16x8x16 is d += a·b.
DEV void mma_bf16_16x8x16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
		: "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
		: "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

DEV u32 shared_address(const void *p) { return (u32)__cvta_generic_to_shared(p); }

// ldmatrix reads four matrices of eight rows of sixteen bytes, whose places the lanes
// bring, eight a matrix: lane 4g+t gets of each the pair t of row g, and by
// ldmatrix_turned elements 2t and 2t+1 of column g.
DEV void ldmatrix(u32 (&r)[4], Shared<lanes16> from, u32 at) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
		: "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
		: "r"(shared_address(from + at))
		: "memory");
}
DEV void ldmatrix_turned(u32 (&r)[4], Shared<lanes16> from, u32 at) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
		: "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
		: "r"(shared_address(from + at))
		: "memory");
}

// copy_async begins to copy sixteen bytes to shared memory, those of number i of x, or
// zeros. They are there for a thread that has called copies_wait, and for the others of
// its block behind the SYNC after it.
DEV void copy_async(Shared<lanes16> to, u32 at, const src &x, u64 i, bool there) {
	const lanes16 *const from = static_cast<const lanes16 *>(x.p) + (there ? i : 0);
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(shared_address(to + at)), "l"(from), "r"(there ? 16 : 0) : "memory");
}
DEV void copies_wait() { asm volatile("cp.async.wait_all;" : : : "memory"); }

#else
#include "fragments.h"
#endif
