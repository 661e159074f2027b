// SPDX-License-Identifier: Apache-2.0

#ifndef OCTET_MATMUL_AVX512_H
#define OCTET_MATMUL_AVX512_H

#include <immintrin.h>

#include "matmul.h"

#define AVX512_FEATURES "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi"
#define AVX512 __attribute__((target(AVX512_FEATURES)))
#define INLINE static inline __attribute__((always_inline)) AVX512
#define UNROLL _Pragma("GCC unroll 16") // in full, so that arrays become registers

typedef void pack_func(uint32_t *strip, const struct matmul_source *, int64_t lane0, int64_t k0, int64_t steps);

pack_func octet_pack_a_f32, octet_pack_b_f32, octet_pack_a_bf16, octet_pack_b_bf16, octet_pack_a_fp16, octet_pack_b_fp16;

#endif
