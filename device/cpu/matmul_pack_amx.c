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
		for (int64_t l = 0; l < lanes; l += 32) {
			uint32_t *t0 = to + (l / 16 * tiles + t) * TILE_WORDS;
			pack_two(transposed, 0, type, t0, t0 + tiles * TILE_WORDS, s, lane0 + l, k0 + t * TILE_K);
		}
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
