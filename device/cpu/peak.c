// SPDX-License-Identifier: Apache-2.0

// The loops behind Peak. They are assembly because a compiler merges
// sums that hold equal values and then reports more than the processor does.

//go:build cgo && amd64

#include "peak.h"

// rounds times one op for each of the registers named in sums, whose two
// factors are register 15 (AVX2) or 31, all zero.
#define SPIN(op, reg, sums, factor)                                                                    \
	__asm__ volatile(".irp n," sums "," factor "\n\t"                                              \
			 "vxorps %%" reg "\\n, %%" reg "\\n, %%" reg "\\n\n\t"                         \
			 ".endr\n"                                                                     \
			 "1:\n\t"                                                                      \
			 ".irp n," sums "\n\t" op " %%" reg factor ", %%" reg factor ", %%" reg "\\n\n\t" \
			 ".endr\n\t"                                                                   \
			 "dec %0\n\t"                                                                  \
			 "jnz 1b\n\t"                                                                  \
			 : "+r"(rounds)                                                                \
			 :                                                                             \
			 : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",       \
			   "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15" WIDE)
#define SIXTEEN "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15"

#define WIDE
__attribute__((target("avx2,fma"))) void octet_spin_f32_avx2(int64_t rounds)
{
	SPIN("vfmadd231ps", "ymm", "0,1,2,3,4,5,6,7,8,9,10,11", "15");
}

#undef WIDE
#define WIDE , "xmm31"
__attribute__((target("avx512f,avx512dq"))) void octet_spin_f32_avx512(int64_t rounds)
{
	SPIN("vfmadd231ps", "zmm", SIXTEEN, "31");
}

__attribute__((target("avx512f,avx512dq,avx512bf16"))) void octet_spin_bf16(int64_t rounds)
{
	SPIN("vdpbf16ps", "zmm", SIXTEEN, "31");
}

__attribute__((target("avx512f,avx512dq,avx512fp16"))) void octet_spin_fp16(int64_t rounds)
{
	SPIN("vfmadd231ph", "zmm", SIXTEEN, "31");
}
