// SPDX-License-Identifier: Apache-2.0

// MatMul on AVX2 and FMA: f32 alone, whatever the operands.

//go:build cgo && amd64

#include <immintrin.h>
#include <string.h>

#include "matmul.h"

#define AVX2 __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline)) AVX2
#define UNROLL _Pragma("GCC unroll 16")

enum { ROWS = 6 };

// What float8's bits need to become an f32: the shift of the magnitude to f32's
// place, the difference of the exponents' biases, the first normal and the
// first special magnitude, and the smallest subnormal.
struct format {
	int shift, bias, normal, special;
	float step;
};

static const struct format e4m3 = {20, 120, 0x08, 0x7F, 0x1p-9f}, e5m2 = {21, 112, 0x04, 0x7C, 0x1p-16f};

INLINE __m256 decode(struct format f, __m256i codes)
{
	__m256i mag = _mm256_and_si256(codes, _mm256_set1_epi32(0x7F));
	__m256i bits = _mm256_slli_epi32(mag, f.shift);
	__m256i normal = _mm256_add_epi32(bits, _mm256_set1_epi32(f.bias << 23));
	__m256i special = _mm256_or_si256(bits, _mm256_set1_epi32(0x7F800000));
	__m256 subnormal = _mm256_mul_ps(_mm256_cvtepi32_ps(mag), _mm256_set1_ps(f.step));
	__m256i v = _mm256_blendv_epi8(normal, special, _mm256_cmpgt_epi32(mag, _mm256_set1_epi32(f.special - 1)));
	v = _mm256_blendv_epi8(v, _mm256_castps_si256(subnormal), _mm256_cmpgt_epi32(_mm256_set1_epi32(f.normal), mag));
	__m256i sign = _mm256_slli_epi32(_mm256_and_si256(codes, _mm256_set1_epi32(0x80)), 24);
	return _mm256_castsi256_ps(_mm256_or_si256(v, sign));
}

// Eight elements, of which those from n on are zero.
INLINE __m256 load(int type, const void *p, int64_t n)
{
	const int size = type == F32 ? 4 : type == BF16 ? 2 : 1;
	char padded[32] __attribute__((aligned(32)));
	if (n <= 0)
		return _mm256_setzero_ps();
	if (n < 8) {
		memset(padded, 0, sizeof padded);
		p = memcpy(padded, p, n * size);
	}
	switch (type) {
	case F32:
		return _mm256_loadu_ps(p);
	case BF16:
		return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
	default:
		return decode(type == E4M3 ? e4m3 : e5m2, _mm256_cvtepu8_epi32(_mm_loadl_epi64(p)));
	}
}

INLINE const void *at(int type, const struct matmul_source *s, int64_t row, int64_t column)
{
	const int size = type == F32 ? 4 : type == BF16 ? 2 : 1;
	return (const char *)s->data + (row * s->ld + column) * size;
}

// Transposes 8 rows of 8.
INLINE void transpose(__m256 r[8])
{
	__m256 t[8];
	UNROLL for (int i = 0; i < 8; i += 2) {
		t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
		t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
	}
	UNROLL for (int i = 0; i < 8; i += 4) {
		r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
		r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
		r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
		r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
	}
	UNROLL for (int i = 0; i < 4; i++) {
		t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
		t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
	}
	UNROLL for (int i = 0; i < 8; i++)
		r[i] = t[i];
}

enum side { SIDE_A, SIDE_B };

// Eight words along k of one lane.
INLINE __m256 along_k(int type, const struct matmul_source *s, int64_t lane, int64_t k)
{
	return lane < s->lanes ? load(type, at(type, s, lane, k), s->k - k) : _mm256_setzero_ps();
}

INLINE void pack_as(enum side side, int type, float *strip, const struct matmul_source *s, int64_t lane0, int64_t k0,
		    int64_t steps)
{
	if (s->k_contiguous && side == SIDE_A) {
		for (int64_t l = 0; l < 2 * ROWS; l++)
			for (int64_t i = 0; i < steps; i += 8)
				_mm256_store_ps(strip + l * TILE_STEPS + i, along_k(type, s, lane0 + l, k0 + i));
		return;
	}
	for (int half = 0; half < STRIP; half += 8, strip += 8, lane0 += 8) {
		if (!s->k_contiguous) {
			for (int64_t i = 0; i < steps; i++)
				_mm256_store_ps(strip + i * STRIP, load(type, at(type, s, k0 + i, lane0), s->lanes - lane0));
			continue;
		}
		for (int64_t i = 0; i < steps; i += 8) {
			__m256 r[8];
			UNROLL for (int l = 0; l < 8; l++)
				r[l] = along_k(type, s, lane0 + l, k0 + i);
			transpose(r);
			for (int64_t j = 0; j < 8 && i + j < steps; j++)
				_mm256_store_ps(strip + (i + j) * STRIP, r[j]);
		}
	}
}

// Makes the type a constant of the loops.
INLINE void pack(enum side side, uint32_t *strip, const struct matmul_source *s, int64_t lane0, int64_t k0, int64_t steps)
{
	if (s->type == F32)
		pack_as(side, F32, (float *)strip, s, lane0, k0, steps);
	else if (s->type == BF16)
		pack_as(side, BF16, (float *)strip, s, lane0, k0, steps);
	else if (s->type == E4M3)
		pack_as(side, E4M3, (float *)strip, s, lane0, k0, steps);
	else
		pack_as(side, E5M2, (float *)strip, s, lane0, k0, steps);
}

AVX2 static void pack_a(uint32_t *strip, const struct matmul_source *s, int64_t lane0, int64_t k0, int64_t steps)
{
	pack(SIDE_A, strip, s, lane0, k0, steps);
}

AVX2 static void pack_b(uint32_t *strip, const struct matmul_source *s, int64_t lane0, int64_t k0, int64_t steps)
{
	pack(SIDE_B, strip, s, lane0, k0, steps);
}

// 12 sums of 8 lanes: 6 rows by one strip.
AVX2 static void kernel(int64_t steps, const uint32_t *a, struct strides by, const uint32_t *b, float *block, int add)
{
	const float *fb = (const float *)b;
	__m256 sum[ROWS][2];
	UNROLL for (int i = 0; i < ROWS; i++)
		sum[i][0] = sum[i][1] = _mm256_setzero_ps();
	for (int64_t s = 0; s < steps * STRIP; s += STRIP, a += by.step) {
		__m256 b0 = _mm256_load_ps(fb + s), b1 = _mm256_load_ps(fb + s + 8);
		UNROLL for (int i = 0; i < ROWS; i++) {
			__m256 va = _mm256_broadcast_ss((const float *)a + i * by.row);
			sum[i][0] = _mm256_fmadd_ps(va, b0, sum[i][0]);
			sum[i][1] = _mm256_fmadd_ps(va, b1, sum[i][1]);
		}
	}
	UNROLL for (int i = 0; i < ROWS; i++, block += STRIP) {
		if (add) {
			sum[i][0] = _mm256_add_ps(_mm256_load_ps(block), sum[i][0]);
			sum[i][1] = _mm256_add_ps(_mm256_load_ps(block + 8), sum[i][1]);
		}
		_mm256_store_ps(block, sum[i][0]);
		_mm256_store_ps(block + 8, sum[i][1]);
	}
}

// Rounds to nearest even; NaN becomes a quiet NaN.
INLINE __m128i round_bf16(__m256 v)
{
	__m256i u = _mm256_castps_si256(v);
	__m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
	__m256i r = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
	__m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
	r = _mm256_blendv_epi8(r, quiet, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
	r = _mm256_srli_epi32(r, 16);
	r = _mm256_permute4x64_epi64(_mm256_packus_epi32(r, r), 0x08);
	return _mm256_castsi256_si128(r);
}

// The reciprocals of the scales of n columns.
INLINE __m256 invs_of(const struct matmul_source *s, int64_t col, int64_t n)
{
	return s->invs ? load(F32, s->inv + col, n) : _mm256_set1_ps(inv_of(s, col));
}

AVX2 static void finish(const struct matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols,
			const float *block, float bias)
{
	const int size = p->dst_type == F32 ? 4 : 2;
	for (int64_t i = 0; i < rows; i++, block += STRIP) {
		const __m256 inv = _mm256_set1_ps(inv_of(&p->a, row + i));
		for (int64_t j = 0; j < cols; j += 8) {
			char *dst = (char *)p->dst + ((row + i) * p->n + col + j) * size;
			const int64_t n = cols - j < 8 ? cols - j : 8;
			__m256 scale = _mm256_mul_ps(_mm256_set1_ps(bias), _mm256_mul_ps(inv, invs_of(&p->b, col + j, n)));
			__m256 v = _mm256_mul_ps(_mm256_load_ps(block + j), scale);
			if (p->accumulate)
				v = _mm256_add_ps(load(p->dst_type, dst, n), v);
			char out[32] __attribute__((aligned(32)));
			if (p->dst_type == F32)
				_mm256_store_ps((float *)out, v);
			else
				_mm_store_si128((__m128i *)out, round_bf16(v));
			memcpy(dst, out, n * size);
		}
	}
}

static float no_bias(int32_t type) { return 1; }

const struct matmul_unit *octet_matmul_unit_avx2(void)
{
	static const struct matmul_unit u = {1, 2 * ROWS, STRIP, ROWS, STRIP, pack_a, pack_b, kernel, finish, no_bias};
	return &u;
}
