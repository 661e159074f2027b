// SPDX-License-Identifier: Apache-2.0

// Packing for AMX. 16 rows of 64 bytes or codes are read at once, whatever the
// operand's type and whichever of its axes is contiguous; they become two tiles,
// transposed in registers where the tile has the other axis in its rows.

//go:build cgo && amd64

#include "matmul_amx.h"
#include "matmul_avx512.h"
#include "matmul_codes.h"
#include "matmul_transpose.h"

INLINE int64_t clamp(int64_t n, int64_t most) { return n < 0 ? 0 : n < most ? n : most; }
INLINE __mmask64 first(int64_t n) { return n >= 64 ? ~0ull : n <= 0 ? 0 : (1ull << n) - 1; }

// Two vectors, 32 elements each.
struct two {
	__m512i first, second;
};

// widen looks up both bytes of 64 float8 codes' values in bf16. A block of 16 codes holds
// eight of the first 32 and eight of the second.
INLINE struct two widen(const struct codes *t, __m512i codes)
{
	__m512i low = _mm512_permutex2var_epi8(_mm512_load_si512(t->low), codes, _mm512_load_si512(t->low + 64));
	__m512i high = _mm512_permutex2var_epi8(_mm512_load_si512(t->high), codes, _mm512_load_si512(t->high + 64));
	const int or_and = 0xF8; // a | (b & c)
	high = _mm512_ternarylogic_epi32(high, codes, _mm512_set1_epi8((char)0x80), or_and);
	return (struct two){_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high)};
}

// What puts 8 bytes of each half side by side, for an unpacking within blocks of 16.
#define HALVES_BY_TURNS _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7)

// along_k is 64 elements of one lane, of which those from n on are zero.
INLINE struct two along_k(int type, const void *p, int64_t n)
{
	if (type == BF16)
		return (struct two){_mm512_maskz_loadu_epi16(first(n), p), _mm512_maskz_loadu_epi16(first(n - 32), (const char *)p + 64)};
	return widen(&bf16_codes[type - E4M3], _mm512_permutexvar_epi64(HALVES_BY_TURNS, _mm512_maskz_loadu_epi8(first(n), p)));
}

// along_lanes is elements k and k+1, at p and q, of 32 lanes side by side; of those
// from n on, and of k from ks on, they are zero.
INLINE struct two along_lanes(int type, const void *p, const void *q, int64_t n, int64_t ks)
{
	const __mmask32 here = ks > 0 ? first(n) : 0, next = ks > 1 ? first(n) : 0;
	if (type == BF16) {
		__m512i x = _mm512_permutexvar_epi64(HALVES_BY_TURNS, _mm512_maskz_loadu_epi16(here, p));
		__m512i y = _mm512_permutexvar_epi64(HALVES_BY_TURNS, _mm512_maskz_loadu_epi16(next, q));
		return (struct two){_mm512_unpacklo_epi16(x, y), _mm512_unpackhi_epi16(x, y)};
	}
	static const uint8_t pairs[64] __attribute__((aligned(64))) = {
#define PAIR(l) l, l + 32
#define BLOCK(l) PAIR(l), PAIR(l + 1), PAIR(l + 2), PAIR(l + 3), PAIR(l + 16), PAIR(l + 17), PAIR(l + 18), PAIR(l + 19)
		BLOCK(0), BLOCK(4), BLOCK(8), BLOCK(12)};
	__m512i codes = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_maskz_loadu_epi8(here, p)), _mm256_maskz_loadu_epi8(next, q), 1);
	return widen(&bf16_codes[type - E4M3], _mm512_permutexvar_epi8(_mm512_load_si512(pairs), codes));
}

// Rows lie too far apart for the processor to guess the next, so each is asked for
// when the one so many before it is read.
enum { ROWS_AHEAD = 32 };

INLINE void ask_ahead(const struct matmul_source *s, const void *p)
{
	_mm_prefetch((const char *)p + ROWS_AHEAD * s->ld * size_of(s->type), _MM_HINT_T1);
}

// pack_two packs the two tiles of which lane and k are the first, at t0 and t1.
INLINE void pack_two(int transposed, int k_contiguous, int type, uint32_t *t0, uint32_t *t1, const struct matmul_source *s, int64_t lane, int64_t k)
{
	const int64_t lanes = s->lanes - lane, ks = s->k - k;
	__m512i r[16];
	UNROLL for (int i = 0; i < 16; i++) {
		struct two x;
		const void *p = k_contiguous ? at(type, s, lane + i, k) : at(type, s, k + 2 * i, lane), *q = at(type, s, k + 2 * i + 1, lane);
		ask_ahead(s, p);
		if (k_contiguous) {
			x = along_k(type, p, i < lanes ? ks : 0);
		} else {
			ask_ahead(s, q);
			x = along_lanes(type, p, q, lanes, ks - 2 * i);
		}
		r[i] = x.first;
		_mm512_store_si512(t1 + 16 * i, x.second);
	}
	if (transposed)
		transpose16(r);
	UNROLL for (int i = 0; i < 16; i++)
		_mm512_store_si512(t0 + 16 * i, r[i]);
	if (!transposed)
		return;
	UNROLL for (int i = 0; i < 16; i++)
		r[i] = _mm512_load_si512(t1 + 16 * i);
	transpose16(r);
	UNROLL for (int i = 0; i < 16; i++)
		_mm512_store_si512(t1 + 16 * i, r[i]);
}

// turn_codes packs a tile of 16 lanes from 32 rows of float8 codes. Codes are half of what they become, so it is they
// that are transposed: the rows of a register, 8 apart, give each of its blocks of 16 the k of one widened quarter.
INLINE void turn_codes(int type, uint32_t *to, const struct matmul_source *s, int64_t lane, int64_t k)
{
	__m512i r[8], t[8];
	UNROLL for (int i = 0; i < 8; i++) {
		const __m128i *p = at(type, s, k + i, lane);
		r[i] = _mm512_castsi128_si512(_mm_loadu_si128(p));
		r[i] = _mm512_inserti32x4(r[i], _mm_loadu_si128(at(type, s, k + i + 8, lane)), 1);
		r[i] = _mm512_inserti32x4(r[i], _mm_loadu_si128(at(type, s, k + i + 16, lane)), 2);
		r[i] = _mm512_inserti32x4(r[i], _mm_loadu_si128(at(type, s, k + i + 24, lane)), 3);
	}
	UNROLL for (int i = 0; i < 4; i++) { // two of k beside each other, of the first and the last 8 lanes
		t[i] = _mm512_unpacklo_epi8(r[2 * i], r[2 * i + 1]);
		t[4 + i] = _mm512_unpackhi_epi8(r[2 * i], r[2 * i + 1]);
	}
	UNROLL for (int h = 0; h < 8; h += 4) {
		__m512i four[4]; // of k, of lanes 0 to 3 and 4 to 7 of this half
		UNROLL for (int i = 0; i < 2; i++) {
			four[i] = _mm512_unpacklo_epi16(t[h + 2 * i], t[h + 2 * i + 1]);
			four[2 + i] = _mm512_unpackhi_epi16(t[h + 2 * i], t[h + 2 * i + 1]);
		}
		UNROLL for (int i = 0; i < 4; i += 2) {
			r[h + i] = _mm512_unpacklo_epi32(four[i], four[i + 1]);
			r[h + i + 1] = _mm512_unpackhi_epi32(four[i], four[i + 1]);
		}
	}
	UNROLL for (int i = 0; i < 8; i++) {
		struct two x = widen(&bf16_codes[type - E4M3], r[i]);
		_mm512_store_si512(to + 32 * i, x.first);
		_mm512_store_si512(to + 32 * i + 16, x.second);
	}
}

// pair_codes packs four tiles, next words apart, of 64 lanes from 32 rows of float8 codes.
INLINE void pair_codes(int type, uint32_t *to, int64_t next, const struct matmul_source *s, int64_t lane, int64_t k)
{
	// Interleaved with the next row and widened, each fourth of a block of 16 lanes goes to a tile of its own.
	const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
	UNROLL for (int i = 0; i < 16; i++) {
		const void *p = at(type, s, k + 2 * i, lane), *q = at(type, s, k + 2 * i + 1, lane);
		__m512i x = _mm512_permutexvar_epi32(order, _mm512_loadu_si512(p)), y = _mm512_permutexvar_epi32(order, _mm512_loadu_si512(q));
		struct two low = widen(&bf16_codes[type - E4M3], _mm512_unpacklo_epi8(x, y));
		struct two high = widen(&bf16_codes[type - E4M3], _mm512_unpackhi_epi8(x, y));
		_mm512_store_si512(to + 16 * i, low.first);
		_mm512_store_si512(to + next + 16 * i, low.second);
		_mm512_store_si512(to + 2 * next + 16 * i, high.first);
		_mm512_store_si512(to + 3 * next + 16 * i, high.second);
	}
}

// pack_across packs a step of tiles of lanes side by side, tiles of the same lanes being next words apart, and returns
// how many lanes it has packed.
INLINE int64_t pack_across(int transposed, int type, uint32_t *to, int64_t next, const struct matmul_source *s, int64_t lane, int64_t lanes, int64_t k)
{
	const int codes = type != BF16 && k + TILE_K <= s->k;
	const int64_t there = clamp(s->lanes - lane, lanes);
	if (codes && transposed && there >= 32) {
		turn_codes(type, to, s, lane, k);
		turn_codes(type, to + next, s, lane + 16, k);
		return 32;
	}
	if (codes && !transposed && there >= 64) {
		pair_codes(type, to, next, s, lane, k);
		return 64;
	}
	pack_two(transposed, 0, type, to, to + next, s, lane, k);
	return 32;
}

INLINE void pack(int transposed, int k_contiguous, int type, uint32_t *to, const struct matmul_source *s, int64_t lane0, int64_t lanes,
		 int64_t k0, int64_t tiles)
{
	uint32_t none[TILE_WORDS] __attribute__((aligned(64))); // beyond the last
	if (k_contiguous) {
		for (int64_t l = 0; l < lanes; l += 16, to += tiles * TILE_WORDS)
			for (int64_t t = 0; t < tiles; t += 2)
				pack_two(transposed, 1, type, to + t * TILE_WORDS, t + 1 < tiles ? to + (t + 1) * TILE_WORDS : none, s, lane0 + l, k0 + t * TILE_K);
		return;
	}
	for (int64_t t = 0; t < tiles; t++)
		for (int64_t l = 0; l < lanes;)
			l += pack_across(transposed, type, to + (l / 16 * tiles + t) * TILE_WORDS, tiles * TILE_WORDS, s, lane0 + l, lanes - l, k0 + t * TILE_K);
}

// Makes the type and the layout constants of the loops.
#define PACK_AS(transposed, k_contiguous)                                                   \
	do                                                                                  \
		if (s->type == BF16)                                                        \
			pack(transposed, k_contiguous, BF16, to, s, lane0, lanes, k0, tiles); \
		else if (s->type == E4M3)                                                   \
			pack(transposed, k_contiguous, E4M3, to, s, lane0, lanes, k0, tiles); \
		else                                                                        \
			pack(transposed, k_contiguous, E5M2, to, s, lane0, lanes, k0, tiles); \
	while (0)

void octet_pack_amx(enum side side, uint32_t *to, const struct matmul_source *s, int64_t lane0, int64_t lanes, int64_t k0, int64_t tiles)
{
	if (side == SIDE_A && s->k_contiguous)
		PACK_AS(0, 1);
	else if (side == SIDE_A)
		PACK_AS(1, 0);
	else if (s->k_contiguous)
		PACK_AS(1, 1);
	else
		PACK_AS(0, 0);
}
