// SPDX-License-Identifier: Apache-2.0

// Attention of bf16 tensors on units that multiply pairs of bf16 and sum
// float32: the algorithm and the vectors of queries of simd_attention.h. Scores,
// softmax, its sums and what products add up are float32. Backward rounds P and dS
// to bf16 for the products that read them. Forward may not (runs would leave the
// curves of PyTorch's): it is on AMX alone, which can afford P in three parts, all of its bits.
//
// A product is C [M,N] = from + A·B. Rows of A have what is summed side by side;
// B has it in pairs, a word for each column:
//
//	forward   Sᵀ = K·Qᵀ     Oᵀ += Vᵀ·Pᵀ
//	backward  Sᵀ = K·Qᵀ     dPᵀ = V·dOᵀ - D    dQᵀ += Kᵀ·dSᵀ    dK += dSᵀ·Q    dV += Pᵀ·dO
//
// K and V are A as they come. Pᵀ and dSᵀ are A in pairs of queries that are W apart, which two
// vectors make without a permutation, and so are then Q and dO; and B in pairs of keys. The
// others are turned when they are read.
//
// TILE queries go over the keys in steps. What a unit of its own multiplies for the
// step ahead and the step behind stands between pieces of this step's softmax, as small as
// the processor looks ahead, so that both run at once and neither waits for what the other
// has only just stored.
//
// Whoever includes this has defined multiply, which computes 16 rows and one or two times 16
// columns of a product and may read what is summed up to a multiple of PADDED; finish,
// before which what the last one computed need not be where it belongs; and
// BEGIN and END, which stand around all products of a call.

#include "matmul_transpose.h"
#include "simd_attention_tile.h"

// FOR_HEADS calls f with a size of heads that the compiler knows, of those that are usual.
#define FOR_HEADS(f, a, ...)            \
	(a.hd == 16    ? f(a, 16, __VA_ARGS__)  \
	 : a.hd == 64  ? f(a, 64, __VA_ARGS__)  \
	 : a.hd == 128 ? f(a, 128, __VA_ARGS__) \
		       : f(a, a.hd, __VA_ARGS__))

// PAIR vectors are a BAND of queries.
enum { PAIRS = TILE / 2, PADDED = 32, PAIR = BAND / W };

// row is 16 rows of C = from + A·B, summed over n, and as many columns as 16 times cols. Rows are
// ldc floats apart in C, and ldf in from, which is 0 if it is NULL; lda halves in A, ldb words in B. If there is
// more, two more Bs of as much, which are so many words behind the first, are multiplied too.
INLINE void row(struct sums *x, float *c, long ldc, const float *from, long ldf, const uint16_t *a, long lda, const uint32_t *b, long ldb, long cols, long n, const long *more)
{
	for (long j = 0; j < cols; j += 2)
		multiply(x, min_l(cols - j, 2), c + j * 16, ldc, from ? from + j * 16 : NULL, ldf, a, lda, b + j * 16, ldb, n, more);
}

// load_row is n elements at p and zeros up to 32. It touches no line of memory behind them: a head's row may end where
// one does, and the next line is another head's, not asked for.
INLINE __m512i load_row(const uint16_t *p, long n)
{
	if (n >= 32)
		return _mm512_loadu_si512(p);
	if (n > 16)
		return _mm512_maskz_loadu_epi16((1u << n) - 1, p);
	return _mm512_zextsi256_si512(_mm256_maskz_loadu_epi16((1u << max_l(n, 0)) - 1, p));
}

// read_rows copies n rows of a head to rows of width ld, which end in zeros, as
// the rows do up to TILE.
INLINE void read_rows(uint16_t *dst, long ld, struct vec x, long at, long ldx, long n, long hd)
{
	const uint16_t *src = (const uint16_t *)x.p + at;
	for (long r = 0; r < n; r++, src += ldx, dst += ld)
		for (long c = 0; c < ld; c += 32)
			_mm512_storeu_si512(dst + c, load_row(src + c, hd - c));
	memset(dst, 0, 2 * ld * (up_to(n, TILE) - n));
}

// pair_rows interleaves TILE rows of src [TILE,ld] by twos that are so many rows apart: dst [PAIRS,cols].
static void pair_rows(uint32_t *dst, const uint16_t *src, long ld, long cols, long apart)
{
	for (long r = 0; r < PAIRS; r++)
		for (long c = 0; c < cols; c += W) {
			const uint16_t *p = src + (r / apart * 2 * apart + r % apart) * ld + c;
			__m512i first = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
			__m512i second = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(p + apart * ld)));
			_mm512_store_si512(dst + r * cols + c, _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
		}
}

// turn_words is the transpose: dst [cols,rows] of src [rows,cols].
static void turn_words(uint32_t *dst, const uint32_t *src, long rows, long cols)
{
	for (long i = 0; i < rows; i += 16)
		for (long j = 0; j < cols; j += 16) {
			__m512i r[16];
			UNROLL for (int k = 0; k < 16; k++)
				r[k] = _mm512_loadu_si512(src + (i + k) * cols + j);
			transpose16(r);
			UNROLL for (int k = 0; k < 16; k++)
				_mm512_storeu_si512(dst + (j + k) * rows + i, r[k]);
		}
}

// turn_rows is the transpose of TILE rows of src [TILE,ld]: dst [cols,TILE].
static void turn_rows(uint16_t *dst, const uint16_t *src, long ld, long cols)
{
	uint32_t pairs[PAIRS * cols] __attribute__((aligned(64)));
	pair_rows(pairs, src, ld, cols, 1);
	turn_words((uint32_t *)dst, pairs, PAIRS, cols);
}

// A strip of queries: how many keys each sees, as a vector of floats, and the most and the least of them.
struct sight {
	float seen[TILE];
	long most[TILE / BAND], least[TILE / BAND];
};

static void look(struct sight *x, const int32_t *seen, long queries)
{
	for (long i = 0; i < TILE; i++)
		x->seen[i] = i < queries ? seen[i] : 0;
	for (long c = 0; c < TILE; c += BAND) {
		x->least[c / BAND] = c < queries ? seen[c] : 0;
		x->most[c / BAND] = c < queries ? seen[min_l(c + BAND, queries) - 1] : 0;
	}
}

// hide is v where the lane's query sees the key.
INLINE vf hide(vf v, vf seen, long key) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(seen, set1(key), _CMP_GT_OQ), v); }

// pair makes words of two bf16, the upper halves of lanes; what lies below is left out. It shuffles where it might
// shift, because the unit that shifts is the one that multiplies.
INLINE void pair(void *p, vu first, vu second)
{
	const __m512i down = _mm512_broadcast_i32x4(_mm_setr_epi8(2, 3, -1, -1, 6, 7, -1, -1, 10, 11, -1, -1, 14, 15, -1, -1));
	const int or_and = 0xF8; // a | (b & c)
	_mm512_store_si512(p, _mm512_ternarylogic_epi32(_mm512_shuffle_epi8((__m512i)first, down), (__m512i)second, _mm512_set1_epi32(0xFFFF0000), or_and));
}

// rounded rounds to bf16, in a lane's upper half: to the nearest, away from 0 where two are as near.
INLINE vu rounded(vf v) { return (vu)v + 0x8000; }
