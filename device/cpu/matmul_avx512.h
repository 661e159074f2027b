// SPDX-License-Identifier: Apache-2.0

// The target of the AVX-512 units, and the packing that they share.
#ifndef OCTET_MATMUL_AVX512_H
#define OCTET_MATMUL_AVX512_H

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")
#define W 16

#include "matmul.h"
#include "vector.h"

enum { F32_ROWS = 14 }; // of op(a) in a strip of the f32 unit

typedef void pack_a_func(uint32_t *strip, const struct matmul_source *, int64_t lane0, int64_t k0, int64_t steps);
typedef void pack_b_func(uint32_t *strips, const struct matmul_source *, int64_t lane0, int64_t n, int64_t k0, int64_t steps);

pack_a_func octet_pack_a_f32, octet_pack_a_bf16, octet_pack_a_fp16;
pack_b_func octet_pack_b_f32, octet_pack_b_bf16, octet_pack_b_fp16;

#endif
