// SPDX-License-Identifier: Apache-2.0

// The kernels on AVX-512 where an instruction rounds to bf16.

//go:build cgo && amd64

#pragma GCC optimize("fp-contract=off")
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bf16,avx2,fma")
#define W 16
#define BF16_INSTRUCTION
#define ISA_TABLE simd_avx512bf16

#include "simd_table.h"
