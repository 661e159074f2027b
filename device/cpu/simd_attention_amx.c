// SPDX-License-Identifier: Apache-2.0

// Attention of bf16 tensors on AMX.

//go:build cgo && amd64

#pragma GCC optimize("fp-contract=off")
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,amx-tile,amx-bf16")
#define W 16
#define BF16_INSTRUCTION

#include "matmul_amx.h"
#include "simd_vec.h"

#define BEGIN octet_amx()->begin()
#define END octet_amx()->end()

// What has been multiplied and is still in tiles: cols·16 columns of 16 rows, for c.
struct sums {
	float *c;
	long ldc;
	int cols, odd;
};

// finish stores it.
INLINE void finish(struct sums *x)
{
	if (x->odd) {
		if (x->cols > 0)
			_tile_stored(2, x->c, 4 * x->ldc);
		if (x->cols > 1)
			_tile_stored(3, x->c + 16, 4 * x->ldc);
	} else {
		if (x->cols > 0)
			_tile_stored(0, x->c, 4 * x->ldc);
		if (x->cols > 1)
			_tile_stored(1, x->c + 16, 4 * x->ldc);
	}
	x->cols = 0;
	__asm__ volatile("" ::: "memory"); // tiles are written, and read, behind the compiler's back
}

// MULTIPLY has sums in two tiles.
#define MULTIPLY(first, second)                                     \
	do {                                                        \
		if (!from)                                          \
			_tile_zero(first);                          \
		else                                                \
			_tile_loadd(first, from, 4 * ldf);          \
		if (cols > 1 && !from)                              \
			_tile_zero(second);                         \
		else if (cols > 1)                                  \
			_tile_loadd(second, from + 16, 4 * ldf);    \
		for (; n > 0; n -= 32, a += 32, b += 16 * ldb) {    \
			_tile_loadd(4, a, 2 * lda);                 \
			_tile_loadd(5, b, 4 * ldb);                 \
			_tile_dpbf16ps(first, 4, 5);                \
			if (cols > 1) {                             \
				_tile_loadd(6, b + 16, 4 * ldb);    \
				_tile_dpbf16ps(second, 4, 6);       \
			}                                           \
			for (int part = 0; part < 2 && more; part++) {      \
				_tile_loadd(7, b + more[part], 4 * ldb);    \
				_tile_dpbf16ps(first, 4, 7);        \
				if (cols > 1) {                     \
					_tile_loadd(5, b + more[part] + 16, 4 * ldb); \
					_tile_dpbf16ps(second, 4, 5); \
				}                                   \
			}                                           \
		}                                                   \
	} while (0)

// multiply is 16 rows and cols·16 columns, two at most, of row. Where sums were to be stored that are not there
// yet, all that follows would wait, so it stores those of the product before, and leaves its own.
INLINE void multiply(struct sums *x, int cols, float *c, long ldc, const float *from, long ldf, const uint16_t *a, long lda, const uint32_t *b, long ldb, long n, const long *more)
{
	__asm__ volatile("" ::: "memory");
	const int odd = !x->odd;
	if (odd)
		MULTIPLY(2, 3);
	else
		MULTIPLY(0, 1);
	finish(x);
	*x = (struct sums){c, ldc, cols, odd};
}

#include "simd_attention_grad_bf16.h"

// KEYS is the keys of a step.
enum { KEYS = 32 };

// A step's scores, and then P in their place: of two keys' rows the first is filled with its first parts, in pairs of
// these keys, the second with its second parts. Third parts have a row of their own, two away from the next.
struct step {
	float *s;
	uint32_t *least;
};

// What is kept of a softmax that goes over the keys, for each query: its score of the first, in units
// of log2, to which P is relative, and the sum of P. A larger score takes its place where P would have
// grown past GROWN, which usual scores never do. What leaves is divided by the sum.
struct softmax {
	float most[TILE], total[TILE];
};

#define GROWN 0x1p60f

// softmax_part turns scores of 16 keys into P = 2^(s·scale - most), for BAND queries from c on: cut off to
// bf16, and twice what that left, eight bits of a float's 24 each. It adds to P's sums. The first of the keys is t.
INLINE void softmax_part(const int whole, struct step *x, long from, long c, float scale, long t, long keys, const float *seen, const float *most, vf total[PAIR])
{
	const vf by[PAIR] = {load_f32(most), load_f32(most + W)}, last[PAIR] = {load_f32(seen), load_f32(seen + W)};
	float *s = x->s + from * TILE + c;
	uint32_t *least = x->least + from * TILE + c;
	for (long k = 0; k < keys; k += 2, s += 2 * TILE, least += 2 * TILE) {
		vu part[3][2][PAIR];
		UNROLL for (int i = 0; i < 2; i++)
			UNROLL for (int j = 0; j < PAIR; j++) {
				vf e = power(5, vfma(load_f32(s + i * TILE + j * W), set1(scale), -by[j]));
				if (!whole)
					e = hide(e, last[j], t + k + i);
				total[j] += e;
				part[0][i][j] = (vu)e;
				part[1][i][j] = (vu)(e - (vf)((vu)e & 0xFFFF0000));
				part[2][i][j] = (vu)((vf)part[1][i][j] - (vf)(part[1][i][j] & 0xFFFF0000));
			}
		UNROLL for (int j = 0; j < PAIR; j++) {
			pair(s + j * W, part[0][0][j], part[0][1][j]);
			pair(s + TILE + j * W, part[1][0][j], part[1][1][j]);
			pair(least + j * W, part[2][0][j], part[2][1][j]);
		}
	}
	for (long k = up_to(keys, 2); k < 16; k += 2, s += 2 * TILE, least += 2 * TILE) {
		memset(s, 0, 4 * BAND);
		memset(s + TILE, 0, 4 * BAND);
		memset(least, 0, 4 * BAND);
	}
}

INLINE void softmax_half(struct step *x, long from, long c, float scale, long t, const struct sight *sight, const struct softmax *soft, vf total[PAIR])
{
	if (sight->least[c / BAND] >= t + 16)
		softmax_part(1, x, from, c, scale, t, 16, sight->seen + c, soft->most + c, total);
	else
		softmax_part(0, x, from, c, scale, t, min_l(max_l(sight->most[c / BAND] - t, 0), 16), sight->seen + c, soft->most + c, total);
}

// renew makes the largest score of BAND queries the one to which P is relative, where it is larger, and brings
// their sums and Oᵀ to it; then it does the step's P again. Scores are multiplied again, too.
static void renew(struct step *x, const float *scores, long c, float scale, long t, const struct sight *sight, struct softmax *soft, float *out, long hdn, vf total[PAIR])
{
	for (long j = 0; j < PAIR; j++) {
		const long at = c + j * W;
		vf old = load_f32(soft->most + at), big = old;
		for (long k = 0; k < KEYS; k++) {
			const vf s = load_f32(scores + k * TILE + at);
			store_f32(x->s + k * TILE + at, s);
			big = vmax(big, masked(s * set1(scale), load_f32(sight->seen + at), t + k));
		}
		vf shrink = exp2_(old - big);
		store_f32(soft->most + at, big);
		store_f32(soft->total + at, load_f32(soft->total + at) * shrink);
		for (long r = 0; r < hdn; r++)
			store_f32(out + r * TILE + at, load_f32(out + r * TILE + at) * shrink);
		total[j] = set1(0);
	}
	for (long from = 0; from < KEYS; from += 16)
		softmax_half(x, from, c, scale, t + from, sight, soft, total);
}

INLINE int grown(vf x) { return _mm512_cmp_ps_mask(x, set1(GROWN), _CMP_NLE_UQ); } // or NaN

INLINE void attend_heads(struct attention a, const long hd, long b, long kv, float *mem)
{
	const long hdn = up_to(hd, W), hdk = up_to(hd, PADDED), group = a.h / a.kv, ldq = a.h * hd, ldk = a.kv * hd;
	const long rows = up_to(a.sk, TILE), k0 = b * a.sk * ldk + kv * hd, across = TILE / 16;
	const float scale = 1.44269504f / sqrtf(hd);
	uint16_t *k = (uint16_t *)mem, *vt = k + rows * hdk;
	struct sums sums = {0};
	_Alignas(64) float room[3 * KEYS * TILE];
	struct step ring[2];
	for (int i = 0; i < 2; i++)
		ring[i] = (struct step){room + i * KEYS * TILE, (uint32_t *)room + (2 * KEYS + i) * TILE};
	_Alignas(64) struct softmax soft;
	_Alignas(64) struct sight sight;
	uint16_t q[TILE * hdk] __attribute__((aligned(64)));
	uint32_t qt[hdk / 2 * TILE] __attribute__((aligned(64)));
	float out[TILE * hdn] __attribute__((aligned(64))), o[TILE * hdn] __attribute__((aligned(64)));

	read_rows(k, hdk, a.v, k0, ldk, a.sk, hd);
	for (long t = 0; t < a.sk; t += TILE)
		turn_rows(vt + t * hdn, k + t * hdk, hdk, hdn);
	read_rows(k, hdk, a.k, k0, ldk, a.sk, hd);
	BEGIN;
	for (long h = kv * group; h < (kv + 1) * group; h++) {
		for (long lo = 0; lo < a.sq; lo += TILE) {
			const long queries = min_l(TILE, a.sq - lo), q0 = (b * a.sq + lo) * ldq + h * hd;
			const long steps = up_to(a.seen[lo + queries - 1], KEYS) / KEYS;
			look(&sight, a.seen + lo, queries);
			const long next = lo + TILE < a.sq ? q0 + TILE * ldq : b * a.sq * ldq + (h + 1) * hd;
			struct ahead ahead = ahead_of(&a, next, k0 + hd + lo * ldk, TILE);
			read_rows(q, hdk, a.q, q0, ldq, queries, hd);
			turn_words(qt, (const uint32_t *)q, TILE, hdk / 2);
			memset(out, 0, sizeof out);
			memset(&soft, 0, sizeof soft);
			if (steps) {
				row(&sums, ring[0].s, TILE, NULL, 0, k, hdk, qt, TILE, across, hd, NULL);
				row(&sums, ring[0].s + 16 * TILE, TILE, NULL, 0, k + 16 * hdk, hdk, qt, TILE, across, hd, NULL);
				finish(&sums);
				for (long c = 0; c < TILE; c += W)
					store_f32(soft.most + c, load_f32(ring[0].s + c) * set1(scale));
			}
			for (long i = 0; i <= steps && steps > 0; i++) {
				const long t = i * KEYS, before = t - KEYS;
				struct step *now = &ring[i & 1], *beside = &ring[~i & 1];
				for (long r = TILE * i / steps; r < TILE * (i + 1) / steps; r++)
					ask(&ahead);
				vf total[TILE / BAND][PAIR] = {0};
				const long more[2] = {TILE, beside->least - (uint32_t *)beside->s};
				for (long r = 0; r < hdn && i > 0; r += 16)
					row(&sums, out + r * TILE, TILE, out + r * TILE, TILE, vt + before / TILE * TILE * hdn + r * TILE + before % TILE, TILE, (uint32_t *)beside->s,
					    2 * TILE, across, KEYS, more);
				for (long half = 0; half < 2 && i < steps; half++) {
					softmax_half(now, 16 * half, 0, scale, t + 16 * half, &sight, &soft, total[0]);
					if (i + 1 < steps)
						row(&sums, beside->s + 16 * half * TILE, TILE, NULL, 0, k + (t + KEYS + 16 * half) * hdk, hdk, qt, TILE, across, hd, NULL);
					softmax_half(now, 16 * half, BAND, scale, t + 16 * half, &sight, &soft, total[1]);
				}
				for (long c = 0; c < TILE && i < steps; c += BAND) {
					vf *all = total[c / BAND];
					if (grown(all[0]) || grown(all[1])) {
						float again[KEYS * TILE] __attribute__((aligned(64)));
						for (long r = 0; r < KEYS; r += 16)
							row(&sums, again + r * TILE, TILE, NULL, 0, k + (t + r) * hdk, hdk, qt, TILE, across, hd, NULL);
						finish(&sums);
						renew(now, again, c, scale, t, &sight, &soft, out, hdn, all);
					}
					for (long j = 0; j < PAIR; j++)
						store_f32(soft.total + c + j * W, load_f32(soft.total + c + j * W) + all[j]);
				}
			}
			finish(&sums);
			write_queries(a, b, h, lo, queries, o, out, hdn, soft.most, soft.total);
		}
	}
	END;
}

// octet_attend_amx is every query that reads key head kv of sequence b. mem holds
// 2·S'·hd' floats, S' and hd' being S and hd rounded up to TILE and 16.
void octet_attend_amx(struct attention a, int64_t b, int64_t kv, float *mem) { FOR_HEADS(attend_heads, a, b, kv, mem); }

void octet_attend_grad_amx(struct attention a, int64_t b, int64_t kv, float *mem) { attend_grad_bf16(a, b, kv, mem); }
