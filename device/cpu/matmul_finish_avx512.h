// SPDX-License-Identifier: Apache-2.0

// What the AVX-512 units do with a block's sums.
#ifndef OCTET_MATMUL_FINISH_AVX512_H
#define OCTET_MATMUL_FINISH_AVX512_H

#include "matmul_avx512.h"

// round_func rounds 16 and 16 values to bf16 as to_bf16 does.
typedef __m512i round_func(__m512 low, __m512 high);

INLINE __m512i round_bf16(__m512 low, __m512 high)
{
	const __m512i upper = _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
	return _mm512_permutex2var_epi16((__m512i)round_upper(low), upper, (__m512i)round_upper(high));
}

// 32 columns of dst: which of them exist, and the reciprocals of op(b)'s scales.
struct columns {
	__mmask16 low, high;
	__m512 inv_low, inv_high;
};

// first16 is a mask of the first n.
INLINE __mmask16 first16(int64_t n) { return n >= 16 ? 0xFFFF : n <= 0 ? 0 : (1u << n) - 1; }

INLINE struct columns columns_at(const struct matmul *p, int64_t col, int64_t cols)
{
	struct columns c = {.low = first16(cols), .high = first16(cols - 16)};
	if (p->b.invs) {
		c.inv_low = _mm512_maskz_loadu_ps(c.low, p->b.inv + col);
		c.inv_high = _mm512_maskz_loadu_ps(c.high, p->b.inv + col + 16);
	} else {
		c.inv_low = c.inv_high = _mm512_set1_ps(inv_of(&p->b, 0));
	}
	return c;
}

INLINE __m512 widen_bf16(__m256i x) { return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16); }

// finish_to writes 32 sums to a matrix from element at on, of a row whose reciprocal of op(a)'s scale is given. type and
// accumulate are constants.
INLINE void finish_to(round_func *round, int type, int accumulate, void *to, int64_t at, float inv_a, struct columns c, const float *sums, float bias)
{
	const __m512 inv = _mm512_set1_ps(inv_a), b = _mm512_set1_ps(bias);
	__m512 low = _mm512_mul_ps(_mm512_load_ps(sums), _mm512_mul_ps(b, _mm512_mul_ps(inv, c.inv_low)));
	__m512 high = _mm512_mul_ps(_mm512_load_ps(sums + 16), _mm512_mul_ps(b, _mm512_mul_ps(inv, c.inv_high)));
	if (type == F32) {
		float *dst = (float *)to + at;
		if (accumulate) {
			low = _mm512_add_ps(_mm512_maskz_loadu_ps(c.low, dst), low);
			high = _mm512_add_ps(_mm512_maskz_loadu_ps(c.high, dst + 16), high);
		}
		_mm512_mask_storeu_ps(dst, c.low, low);
		_mm512_mask_storeu_ps(dst + 16, c.high, high);
		return;
	}
	uint16_t *dst = (uint16_t *)to + at;
	const __mmask32 here = _mm512_kunpackw(c.high, c.low);
	if (accumulate) {
		__m512i old = _mm512_maskz_loadu_epi16(here, dst);
		low = _mm512_add_ps(widen_bf16(_mm512_castsi512_si256(old)), low);
		high = _mm512_add_ps(widen_bf16(_mm512_extracti64x4_epi64(old, 1)), high);
	}
	_mm512_mask_storeu_epi16(dst, here, round(low, high));
}

// finish_row is that of a row of a product.
INLINE void finish_row(round_func *round, int type, int accumulate, const struct matmul *p, int64_t row, int64_t col, struct columns c, const float *sums,
		       float bias)
{
	finish_to(round, type, accumulate, p->dst, row * p->n + col, inv_of(&p->a, row), c, sums, bias);
}

INLINE void finish_as(round_func *round, int type, int accumulate, int nr, const struct matmul *p, int64_t row, int64_t rows, int64_t col,
		      int64_t cols, const float *block, float bias)
{
	void *const dst = p->dst;
	const int64_t n = p->n;
	const float inv = inv_of(&p->a, row);
	for (int j = 0; j < nr && j < cols; j += 32) {
		const struct columns c = columns_at(p, col + j, cols - j);
		if (p->a.invs)
			for (int64_t i = 0; i < rows; i++)
				finish_row(round, type, accumulate, p, row + i, col + j, c, block + i * nr + j, bias);
		else // the same factors for all rows
			for (int64_t i = 0; i < rows; i++)
				finish_to(round, type, accumulate, dst, (row + i) * n + col + j, inv, c, block + i * nr + j, bias);
	}
}

INLINE void finish(round_func *round, int nr, const struct matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols,
		   const float *block, float bias)
{
	if (p->dst_type == F32 && !p->accumulate)
		finish_as(round, F32, 0, nr, p, row, rows, col, cols, block, bias);
	else if (p->dst_type == F32)
		finish_as(round, F32, 1, nr, p, row, rows, col, cols, block, bias);
	else if (!p->accumulate)
		finish_as(round, BF16, 0, nr, p, row, rows, col, cols, block, bias);
	else
		finish_as(round, BF16, 1, nr, p, row, rows, col, cols, block, bias);
}

#endif
