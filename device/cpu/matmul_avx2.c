// SPDX-License-Identifier: Apache-2.0

// MatMul on AVX2 and FMA: f32 alone, whatever the operands.

//go:build cgo && amd64

#pragma GCC target("avx2,fma")
#define W 8

#include <string.h>

#include "matmul.h"
#include "vector.h"

enum { ROWS = 6 };

// What float8's bits need to become an f32: the shift of the magnitude to f32's
// place, the difference of the exponents' biases, the first normal and the
// first special magnitude, and the smallest subnormal.
struct format {
	int shift, bias, normal, special;
	float step;
};

static const struct format e4m3 = {.shift = 20, .bias = 120, .normal = 0x08, .special = 0x7F, .step = 0x1p-9f},
			   e5m2 = {.shift = 21, .bias = 112, .normal = 0x04, .special = 0x7C, .step = 0x1p-16f};

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
	char padded[32] __attribute__((aligned(32)));
	if (n <= 0)
		return _mm256_setzero_ps();
	if (n < 8) {
		memset(padded, 0, sizeof padded);
		p = memcpy(padded, p, n * size_of(type));
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

// Eight words along k of one lane.
INLINE __m256 along_k(int type, const struct matmul_source *s, int64_t lane, int64_t k)
{
	return lane < s->lanes ? load(type, at(type, s, lane, k), s->k - k) : _mm256_setzero_ps();
}

enum { ABREAST = 4 };

// Packs n strips where lanes are contiguous, ABREAST at a time, so that memory is
// read a few lines in a row.

INLINE void pack_lanes(int type, float *strip, const struct matmul_source *s, int64_t lane0, int64_t n, int64_t k0, int64_t steps)
{
	for (; n > 0; n -= ABREAST, strip += ABREAST * steps * STRIP, lane0 += ABREAST * STRIP)
		for (int64_t i = 0; i < steps; i++)
			for (int64_t j = 0; j < n && j < ABREAST; j++)
				for (int64_t half = 0; half < STRIP; half += 8) {
					const int64_t lane = lane0 + j * STRIP + half;
					_mm256_store_ps(strip + (j * steps + i) * STRIP + half, load(type, at(type, s, k0 + i, lane), s->lanes - lane));
				}
}

INLINE void pack_as(enum side side, int type, float *strip, const struct matmul_source *s, int64_t lane0, int64_t n, int64_t k0,
		    int64_t steps)
{
	if (!s->k_contiguous) {
		pack_lanes(type, strip, s, lane0, n, k0, steps);
		return;
	}
	if (side == SIDE_A) {
		for (int64_t l = 0; l < 2 * ROWS; l++)
			for (int64_t i = 0; i < steps; i += 8)
				_mm256_store_ps(strip + l * TILE_STEPS + i, along_k(type, s, lane0 + l, k0 + i));
		return;
	}
	for (; n > 0; n--, strip += steps * STRIP, lane0 += STRIP)
		for (int half = 0; half < STRIP; half += 8)
			for (int64_t i = 0; i < steps; i += 8) {
				__m256 r[8];
				UNROLL for (int l = 0; l < 8; l++)
					r[l] = along_k(type, s, lane0 + half + l, k0 + i);
				transpose8(r);
				for (int64_t j = 0; j < 8 && i + j < steps; j++)
					_mm256_store_ps(strip + (i + j) * STRIP + half, r[j]);
			}
}

// Makes the type a constant of the loops.
INLINE void pack(enum side side, uint32_t *strip, const struct matmul_source *s, int64_t lane0, int64_t n, int64_t k0, int64_t steps)
{
	if (s->type == F32)
		pack_as(side, F32, (float *)strip, s, lane0, n, k0, steps);
	else if (s->type == BF16)
		pack_as(side, BF16, (float *)strip, s, lane0, n, k0, steps);
	else if (s->type == E4M3)
		pack_as(side, E4M3, (float *)strip, s, lane0, n, k0, steps);
	else
		pack_as(side, E5M2, (float *)strip, s, lane0, n, k0, steps);
}

static void pack_a(uint32_t *strip, const struct matmul_source *s, int64_t lane0, int64_t k0, int64_t steps)
{
	pack(SIDE_A, strip, s, lane0, 1, k0, steps);
}

static void pack_b(uint32_t *strips, const struct matmul_source *s, int64_t lane0, int64_t n, int64_t k0, int64_t steps)
{
	pack(SIDE_B, strips, s, lane0, n, k0, steps);
}

// 12 sums of 8 lanes: 6 rows by one strip.
static void kernel(int64_t rows, int64_t steps, const uint32_t *a, struct strides by, const uint32_t *b, float *block, int add)
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

// The reciprocals of the scales of n columns.
INLINE __m256 invs_of(const struct matmul_source *s, int64_t col, int64_t n)
{
	return s->invs ? load(F32, s->inv + col, n) : _mm256_set1_ps(inv_of(s, col));
}

static void finish(const struct matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols, const float *block, float bias)
{
	const int size = size_of(p->dst_type);
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
				store_u16((uint16_t *)out, to_bf16(v));
			memcpy(dst, out, n * size);
		}
	}
}

const struct matmul_unit *octet_matmul_unit_avx2(void)
{
	static const struct matmul_unit u = {
		.k_per_word = 1, .a_lanes = 2 * ROWS, .b_lanes = STRIP, .mr = ROWS, .nr = STRIP,
		.pack_a = pack_a, .pack_b = pack_b, .kernel = kernel, .finish = finish, .bias = no_bias,
	};
	return &u;
}
