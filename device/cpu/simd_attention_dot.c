// SPDX-License-Identifier: Apache-2.0

// Attention's gradient of bf16 tensors on the bf16 dot.

//go:build cgo && amd64

#pragma GCC optimize("fp-contract=off")
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")
#define W 16

#include "simd_vec.h"

#define BEGIN
#define END

// block is 8 rows by n·16 columns of what multiply computes.
INLINE void block(const int n, float *c, long ldc, const uint32_t *a, long lda, const uint32_t *b, long ldb, long words, int add)
{
	vf acc[8][2];
	UNROLL for (int r = 0; r < 8; r++)
		UNROLL for (int j = 0; j < n; j++)
			acc[r][j] = add ? load_f32(c + r * ldc + j * W) : set1(0);
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

// multiply is rows·16 by cols·16 of C (+)= A·B, summed over n. Rows are ldc floats
// apart in C, lda halves in A, ldb words in B.
static void multiply(float *c, long ldc, const uint16_t *a, long lda, const uint32_t *b, long ldb, long rows, long cols, long n, int add)
{
	for (long i = 0; i < 16 * rows; i += 8, c += 8 * ldc, a += 8 * lda) {
		long j = 0;
		for (; j + 2 <= cols; j += 2)
			block(2, c + j * W, ldc, (const uint32_t *)a, lda / 2, b + j * W, ldb, (n + 1) / 2, add);
		if (j < cols)
			block(1, c + j * W, ldc, (const uint32_t *)a, lda / 2, b + j * W, ldb, (n + 1) / 2, add);
	}
}

#include "simd_attention_bf16.h"

void octet_attend_grad_dot(struct attention a, int64_t b, int64_t kv, float *mem) { attend_grad_bf16(a, b, kv, mem); }
