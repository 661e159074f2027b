// SPDX-License-Identifier: Apache-2.0

// Attention's gradient of bf16 tensors on the bf16 dot.

//go:build cgo && amd64

#pragma GCC optimize("fp-contract=off")
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")
#define W 16
#define BF16_INSTRUCTION

#include "simd_vec.h"

#define BEGIN
#define END

// block is 8 rows by n·16 columns of what multiply computes.
INLINE void block(const int n, float *c, long ldc, const float *from, long ldf, const uint32_t *a, long lda, const uint32_t *b, long ldb, long words)
{
	vf acc[8][2];
	UNROLL for (int r = 0; r < 8; r++)
		UNROLL for (int j = 0; j < n; j++)
			acc[r][j] = from ? load_f32(from + r * ldf + j * W) : set1(0);
	for (long k = 0; k < words; k++) {
		__m512bh vb[2];
		UNROLL for (int j = 0; j < n; j++)
			vb[j] = (__m512bh)_mm512_loadu_si512(b + k * ldb + j * W);
		UNROLL for (int r = 0; r < 8; r++) {
			__m512bh va = (__m512bh)_mm512_set1_epi32(a[r * lda + k]);
			UNROLL for (int j = 0; j < n; j++)
				acc[r][j] = _mm512_dpbf16_ps(acc[r][j], va, vb[j]);
		}
	}
	UNROLL for (int r = 0; r < 8; r++)
		UNROLL for (int j = 0; j < n; j++)
			store_f32(c + r * ldc + j * W, acc[r][j]);
}

// Nothing is left for later.
struct sums {
	char none;
};
INLINE void finish(struct sums *x) {}

// multiply is 16 rows and cols·16 columns, two at most, of row. There is one B.
static inline void multiply(struct sums *x, int cols, float *c, long ldc, const float *from, long ldf, const uint16_t *a, long lda, const uint32_t *b, long ldb, long n, const long *more)
{
	for (int i = 0; i < 16; i += 8, c += 8 * ldc, from = from ? from + 8 * ldf : NULL, a += 8 * lda)
		if (cols > 1)
			block(2, c, ldc, from, ldf, (const uint32_t *)a, lda / 2, b, ldb, (n + 1) / 2);
		else
			block(1, c, ldc, from, ldf, (const uint32_t *)a, lda / 2, b, ldb, (n + 1) / 2);
}

#include "simd_attention_grad_bf16.h"

void octet_attend_grad_dot(struct attention a, int64_t b, int64_t kv, float *mem) { attend_grad_bf16(a, b, kv, mem); }
