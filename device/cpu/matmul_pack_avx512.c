// SPDX-License-Identifier: Apache-2.0

// Packing for the AVX-512 units. Whatever the operand's type and whichever of
// its axes is contiguous, 16 words are made at once from one or two loads, and
// float8 is widened by table look-ups inside registers.

//go:build cgo && amd64

#include "matmul_avx512.h"
#include "matmul_codes.h"
#include "matmul_transpose.h"

// What a packed word holds.
enum content {
	ONE_F32,   // one element
	BF16_PAIR, // elements k and k+1 of one lane
	FP16_TWICE, // one element, doubled: a broadcast of 32 bits fills a register with it
	FP16_LANES, // one element of lanes l and l+1
};

INLINE int64_t clamp(int64_t n, int64_t most) { return n < 0 ? 0 : n < most ? n : most; }

// n elements, 16 at most, each zero-extended to 32 bits.
INLINE __m512i load_words(int type, const void *p, int64_t n)
{
	__mmask16 m = (1u << clamp(n, 16)) - 1;
	switch (type) {
	case F32:
		return _mm512_maskz_loadu_epi32(m, p);
	case BF16:
		return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p));
	default:
		return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(m, p));
	}
}

// n narrow elements, 32 at most, each zero-extended to 16 bits.
INLINE __m512i load_halves(int type, const void *p, int64_t n)
{
	if (n >= 32) // a mask would be made by the unit that shuffles
		return type == BF16 ? _mm512_loadu_si512(p) : _mm512_cvtepu8_epi16(_mm256_loadu_si256(p));
	__mmask32 m = (1ull << clamp(n, 32)) - 1;
	if (type == BF16)
		return _mm512_maskz_loadu_epi16(m, p);
	return _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(m, p));
}

// The value of the float8 code in the low byte of each half. Both bytes of the
// result are looked up by magnitude, then the sign is put in.
INLINE __m512i decode(const struct codes *t, __m512i codes)
{
	__m512i both = _mm512_or_si512(codes, _mm512_slli_epi16(codes, 8));
	__m512i low = _mm512_permutex2var_epi8(_mm512_load_si512(t->low), both, _mm512_load_si512(t->low + 64));
	__m512i high = _mm512_permutex2var_epi8(_mm512_load_si512(t->high), both, _mm512_load_si512(t->high + 64));
	__m512i value = _mm512_mask_blend_epi8(0xAAAAAAAAAAAAAAAA, low, high);
	const int or_and = 0xF8; // a | (b & c)
	return _mm512_ternarylogic_epi32(value, both, _mm512_set1_epi16((short)0x8000), or_and);
}

INLINE __m512i as_bf16(int type, __m512i halves)
{
	return type == BF16 ? halves : decode(&bf16_codes[type - E4M3], halves);
}

INLINE __m512i as_fp16(int type, __m512i halves) { return decode(&fp16_codes[type - E4M3], halves); }

// twice copies the low half of each word to the high one, which is zero.
INLINE __m512i twice(__m512i words) { return _mm512_or_si512(words, _mm512_slli_epi32(words, 16)); }

INLINE __m512i as_f32(int type, __m512i words)
{
	return type == F32 ? words : _mm512_slli_epi32(as_bf16(type, words), 16);
}

// A pair of bf16 in each word, as two floats.
INLINE __m512i first_of(__m512i pairs) { return _mm512_slli_epi32(pairs, 16); }
INLINE __m512i second_of(__m512i pairs) { return _mm512_and_si512(pairs, _mm512_set1_epi32(0xFFFF0000)); }

// 16 words along k, of one lane (of two lanes for FP16_LANES).
INLINE __m512i along_k(enum content content, int type, const struct matmul_source *s, int64_t lane, int64_t k)
{
	const int64_t n = s->k - k;
	if (lane >= s->lanes)
		return _mm512_setzero_si512();
	const void *p = at(type, s, lane, k);
	switch (content) {
	case ONE_F32:
		return as_f32(type, load_words(type, p, n));
	case BF16_PAIR:
		return as_bf16(type, load_halves(type, p, n));
	case FP16_TWICE:
		return twice(as_fp16(type, load_words(type, p, n)));
	default: {
		__m512i next = lane + 1 < s->lanes ? load_words(type, at(type, s, lane + 1, k), n) : _mm512_setzero_si512();
		return as_fp16(type, _mm512_or_si512(load_words(type, p, n), _mm512_slli_epi32(next, 16)));
	}
	}
}

// The words of one step for 16 lanes (32 for FP16_LANES).
INLINE __m512i along_lanes(enum content content, int type, const struct matmul_source *s, int64_t lane, int64_t k)
{
	const int64_t n = s->lanes - lane;
	const void *p = at(type, s, k, lane);
	switch (content) {
	case ONE_F32:
		return as_f32(type, load_words(type, p, n));
	case BF16_PAIR: {
		__m512i next = k + 1 < s->k ? load_words(type, at(type, s, k + 1, lane), n) : _mm512_setzero_si512();
		return as_bf16(type, _mm512_or_si512(load_words(type, p, n), _mm512_slli_epi32(next, 16)));
	}
	case FP16_TWICE:
		return twice(as_fp16(type, load_words(type, p, n)));
	default:
		return as_fp16(type, load_halves(type, p, n));
	}
}

// Strips of op(b) that are packed side by side where lanes are contiguous: a step of
// four of float32 is four lines of memory in a row, where each strip alone would
// take a line here and a line there. Rows are asked for so many ahead.
enum { ABREAST = 4, ROWS_AHEAD = 16 };

// store_floats stores what pairs of bf16 hold, in order.
INLINE void store_floats(uint32_t *to, __m512i pairs)
{
	const __m512i low = _mm512_set_epi16(15, 0, 14, 0, 13, 0, 12, 0, 11, 0, 10, 0, 9, 0, 8, 0, 7, 0, 6, 0, 5, 0, 4, 0, 3, 0, 2, 0, 1, 0, 0, 0);
	const __mmask32 upper = 0xAAAAAAAA;
	_mm512_store_si512(to, _mm512_maskz_permutexvar_epi16(upper, low, pairs));
	_mm512_store_si512(to + 16, _mm512_maskz_permutexvar_epi16(upper, low + _mm512_set1_epi32(16 << 16), pairs));
}

// Packs n strips where lanes are contiguous. Of op(a) memory is asked for by the
// loops around the kernels.
INLINE void pack_lanes(enum side side, enum content content, int type, int n, uint32_t *strip, const struct matmul_source *s, int64_t lane0,
		       int64_t k0, int64_t steps)
{
	const int k_per_word = content == BF16_PAIR ? 2 : 1, lanes = content == FP16_LANES ? 2 * STRIP : STRIP;
	const int pairs = content == ONE_F32 && size_of(type) == 1; // two steps are decoded at once
	for (int64_t i = 0; i < steps; i += 1 + pairs) {
		const int64_t k = k0 + i * k_per_word;
		for (int64_t row = 0; side == SIDE_B && row < k_per_word + pairs; row++)
			for (int64_t byte = 0; byte < n * lanes * size_of(type); byte += 64)
				_mm_prefetch((const char *)at(type, s, k + ROWS_AHEAD + row, lane0) + byte, _MM_HINT_T1);
		for (int64_t j = 0; j < n; j++) {
			const __m512i words = along_lanes(pairs ? BF16_PAIR : content, type, s, lane0 + j * lanes, k);
			uint32_t *to = strip + (j * steps + i) * STRIP;
			_mm512_store_si512(to, pairs ? first_of(words) : words);
			if (pairs && i + 1 < steps)
				_mm512_store_si512(to + STRIP, second_of(words));
		}
	}
}

// Packs n strips, of op(a) one. Where k is contiguous, op(a) needs only rows of
// words, but op(b) a transposition.
INLINE void pack_as(enum side side, enum content content, int type, uint32_t *strip, const struct matmul_source *s,
		    int64_t lane0, int64_t n, int64_t k0, int64_t steps)
{
	const int k_per_word = content == BF16_PAIR ? 2 : 1, lanes_per_word = content == FP16_LANES ? 2 : 1;
	const int lanes = lanes_per_word * STRIP;
	const int pairs = content == ONE_F32 && type != F32; // 32 floats come from 16 pairs of bf16
	const enum content read = pairs ? BF16_PAIR : content;
	if (side == SIDE_A && s->k_contiguous) {
		for (int64_t l = 0; l < (content == ONE_F32 ? F32_ROWS : STRIP); l++)
			for (int64_t i = 0; i < steps; i += 16 << pairs) {
				const __m512i words = along_k(read, type, s, lane0 + l, k0 + i * k_per_word);
				uint32_t *to = strip + l * TILE_STEPS + i;
				if (pairs)
					store_floats(to, words);
				else
					_mm512_store_si512(to, words);
			}
		return;
	}
	if (!s->k_contiguous)
		for (; n >= ABREAST; n -= ABREAST, strip += ABREAST * steps * STRIP, lane0 += ABREAST * lanes)
			pack_lanes(side, content, type, ABREAST, strip, s, lane0, k0, steps);
	for (; n > 0; n--, strip += steps * STRIP, lane0 += lanes) {
		if (!s->k_contiguous) {
			pack_lanes(side, content, type, 1, strip, s, lane0, k0, steps);
			continue;
		}
		for (int64_t i = 0; i < steps; i += 16 << pairs) {
			__m512i r[16];
			UNROLL for (int l = 0; l < 16; l++)
				r[l] = along_k(read, type, s, lane0 + l * lanes_per_word, k0 + i * k_per_word);
			transpose16(r);
			for (int64_t j = 0; j < 16 && i + (j << pairs) < steps; j++) {
				uint32_t *to = strip + (i + (j << pairs)) * STRIP;
				_mm512_store_si512(to, pairs ? first_of(r[j]) : r[j]);
				if (pairs && i + 2 * j + 1 < steps)
					_mm512_store_si512(to + STRIP, second_of(r[j]));
			}
		}
	}
}

// Makes the type a constant of the loops.
INLINE void pack(enum side side, enum content content, uint32_t *strip, const struct matmul_source *s, int64_t lane0,
		 int64_t n, int64_t k0, int64_t steps)
{
	if (s->type == E4M3)
		pack_as(side, content, E4M3, strip, s, lane0, n, k0, steps);
	else if (s->type == E5M2)
		pack_as(side, content, E5M2, strip, s, lane0, n, k0, steps);
	else if (s->type == BF16 && (content == ONE_F32 || content == BF16_PAIR))
		pack_as(side, content, BF16, strip, s, lane0, n, k0, steps);
	else if (s->type == F32 && content == ONE_F32)
		pack_as(side, content, F32, strip, s, lane0, n, k0, steps);
}

#define PACK_A(name, content)                                                                                \
	void name(uint32_t *strip, const struct matmul_source *s, int64_t lane0, int64_t k0, int64_t steps)  \
	{                                                                                                    \
		pack(SIDE_A, content, strip, s, lane0, 1, k0, steps);                                        \
	}
#define PACK_B(name, content)                                                                                               \
	void name(uint32_t *strips, const struct matmul_source *s, int64_t lane0, int64_t n, int64_t k0, int64_t steps)     \
	{                                                                                                                   \
		pack(SIDE_B, content, strips, s, lane0, n, k0, steps);                                                      \
	}

PACK_A(octet_pack_a_f32, ONE_F32)
PACK_B(octet_pack_b_f32, ONE_F32)
PACK_A(octet_pack_a_bf16, BF16_PAIR)
PACK_B(octet_pack_b_bf16, BF16_PAIR)
PACK_A(octet_pack_a_fp16, FP16_TWICE)
PACK_B(octet_pack_b_fp16, FP16_LANES)
