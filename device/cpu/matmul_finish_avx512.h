// SPDX-License-Identifier: Apache-2.0

// What the AVX-512 units do with a block's sums.
#ifndef OCTET_MATMUL_FINISH_AVX512_H
#define OCTET_MATMUL_FINISH_AVX512_H

#include "matmul_avx512.h"

// round_func rounds to bf16 as to_bf16 does.
typedef __m256i round_func(__m512);

INLINE __m256i round_bf16(__m512 v) { return _mm512_cvtepi32_epi16((__m512i)to_bf16(v)); }

// The constants round, type, accumulate and lanewise (an operand has a scale a lane)
// keep the branches out of the loops.
INLINE void finish_as(round_func *round, int type, int accumulate, int lanewise, int nr, const struct matmul *p, int64_t row, int64_t rows,
		      int64_t col, int64_t cols, const float *block, float bias)
{
	__m512 scale = _mm512_set1_ps(bias * (inv_of(&p->a, row) * inv_of(&p->b, col)));
	for (int64_t i = 0; i < rows; i++, block += nr) {
		const int64_t to = (row + i) * p->n + col;
		for (int j = 0; j < nr && j < cols; j += 16) {
			const __mmask16 m = cols - j < 16 ? (1u << (cols - j)) - 1 : 0xFFFF;
			if (lanewise) {
				__m512 b = p->b.invs ? _mm512_maskz_loadu_ps(m, p->b.inv + col + j) : _mm512_set1_ps(inv_of(&p->b, 0));
				scale = _mm512_mul_ps(_mm512_set1_ps(bias), _mm512_mul_ps(_mm512_set1_ps(inv_of(&p->a, row + i)), b));
			}
			__m512 v = _mm512_mul_ps(_mm512_load_ps(block + j), scale);
			if (type == F32) {
				float *dst = (float *)p->dst + to + j;
				if (accumulate)
					v = _mm512_add_ps(_mm512_maskz_loadu_ps(m, dst), v);
				_mm512_mask_storeu_ps(dst, m, v);
			} else {
				uint16_t *dst = (uint16_t *)p->dst + to + j;
				if (accumulate) {
					__m512i old = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, dst));
					v = _mm512_add_ps(_mm512_castsi512_ps(_mm512_slli_epi32(old, 16)), v);
				}
				_mm256_mask_storeu_epi16(dst, m, round(v));
			}
		}
	}
}

INLINE void finish(round_func *round, int nr, const struct matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols,
		   const float *block, float bias)
{
	const int lanewise = p->a.invs || p->b.invs;
	if (p->dst_type == F32 && lanewise)
		finish_as(round, F32, p->accumulate, 1, nr, p, row, rows, col, cols, block, bias);
	else if (lanewise)
		finish_as(round, BF16, p->accumulate, 1, nr, p, row, rows, col, cols, block, bias);
	else if (p->dst_type == F32 && !p->accumulate)
		finish_as(round, F32, 0, 0, nr, p, row, rows, col, cols, block, bias);
	else if (p->dst_type == F32)
		finish_as(round, F32, 1, 0, nr, p, row, rows, col, cols, block, bias);
	else if (!p->accumulate)
		finish_as(round, BF16, 0, 0, nr, p, row, rows, col, cols, block, bias);
	else
		finish_as(round, BF16, 1, 0, nr, p, row, rows, col, cols, block, bias);
}

#endif
