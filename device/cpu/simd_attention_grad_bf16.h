// SPDX-License-Identifier: Apache-2.0

// Attention's gradient of bf16 tensors; see simd_attention_bf16.h.

#include "simd_attention_bf16.h"

// STEP is the keys of a step at most. Small heads take fewer.
enum { STEP = 64 };

// A step's scores and dP - D, whose rows begin with those of P and dS once they are made.
struct grad_step {
	float *s, *dp;
};

// softmax_grad turns scores of a step into P = 2^(s·scale - lse) and dP, less D, into dS = P∘dP, both rounded, and dS
// once more in pairs of keys, for BAND queries. The first of its keys is t.
INLINE void softmax_grad(const int whole, struct grad_step *x, uint32_t *pairs, long c, float scale, long t, long keys, long step, const float *seen, const float *lse)
{
	const vf l[PAIR] = {load_f32(lse), load_f32(lse + W)}, last[PAIR] = {load_f32(seen), load_f32(seen + W)};
	const float *s = x->s + c, *dp = x->dp + c;
	uint16_t *p = (uint16_t *)x->s + c, *ds = (uint16_t *)x->dp + c;
	for (long k = 0; k < keys; k += 2, s += 2 * TILE, dp += 2 * TILE, p += 4 * TILE, ds += 4 * TILE, pairs += TILE) {
		vu e[2][PAIR], g[2][PAIR];
		UNROLL for (int i = 0; i < 2; i++)
			UNROLL for (int j = 0; j < PAIR; j++) {
				vf v = power(4, vfma(load_f32(s + i * TILE + j * W), set1(scale), -l[j]));
				if (!whole)
					v = hide(v, last[j], t + k + i);
				e[i][j] = rounded(v);
				g[i][j] = rounded(v * load_f32(dp + i * TILE + j * W));
			}
		UNROLL for (int i = 0; i < 2; i++) {
			pair(p + i * 2 * TILE, e[i][0], e[i][1]);
			pair(ds + i * 2 * TILE, g[i][0], g[i][1]);
			pair(pairs + i * W, g[0][i], g[1][i]);
		}
	}
	for (long k = up_to(keys, 2); k < step; k += 2, p += 4 * TILE, ds += 4 * TILE, pairs += TILE)
		for (int i = 0; i < 2; i++) {
			memset(p + i * 2 * TILE, 0, 2 * BAND);
			memset(ds + i * 2 * TILE, 0, 2 * BAND);
			memset(pairs + i * W, 0, 4 * W);
		}
}

INLINE void attend_grad_heads(struct attention a, const long hd, long b, long kv, float *mem)
{
	const long hdn = up_to(hd, W), hdk = up_to(hd, PADDED), group = a.h / a.kv, ldq = a.h * hd, ldk = a.kv * hd;
	const long rows = up_to(a.sk, TILE), k0 = b * a.sk * ldk + kv * hd, across = TILE / 16, wide = hdn / 16;
	const long step = hd > 32 ? STEP : 16, span = max_l(step, 32), parts = span / step;
	const float scale = 1 / sqrtf(hd), log2e = 1.44269504f;
	float *dk = mem, *dv = dk + rows * hdn;
	uint16_t *k = (uint16_t *)(dv + rows * hdn), *v = k + rows * hdk, *kt = v + rows * hdk;
	struct sums sums = {0};
	_Alignas(64) float room[4 * STEP * TILE];
	struct grad_step ring[2] = {{room, room + step * TILE}, {room + 2 * step * TILE, room + 3 * step * TILE}};
	_Alignas(64) uint32_t pairs[STEP / 2 * TILE];
	_Alignas(64) float lse[TILE], d[TILE];
	_Alignas(64) struct sight sight;
	uint16_t q[TILE * hdk] __attribute__((aligned(64))), d_o[TILE * hdk] __attribute__((aligned(64)));
	uint32_t qt[hdk / 2 * TILE] __attribute__((aligned(64))), dot[hdk / 2 * TILE] __attribute__((aligned(64)));
	uint32_t qs[PAIRS * hdn] __attribute__((aligned(64))), dos[PAIRS * hdn] __attribute__((aligned(64)));
	float dqt[TILE * hdn] __attribute__((aligned(64))), dq[TILE * hdn] __attribute__((aligned(64)));

	read_rows(k, hdk, a.k, k0, ldk, a.sk, hd);
	read_rows(v, hdk, a.v, k0, ldk, a.sk, hd);
	for (long t = 0; t < a.sk; t += TILE)
		turn_rows(kt + t * hdn, k + t * hdk, hdk, hdn);
	memset(dk, 0, 8 * rows * hdn);
	BEGIN;
	for (long h = kv * group; h < (kv + 1) * group; h++) {
		for (long lo = 0; lo < a.sq; lo += TILE) {
			const long queries = min_l(TILE, a.sq - lo), q0 = (b * a.sq + lo) * ldq + h * hd;
			const long steps = up_to(a.seen[lo + queries - 1], span) / step;
			look(&sight, a.seen + lo, queries);
			const long next = lo + TILE < a.sq ? q0 + TILE * ldq : b * a.sq * ldq + (h + 1) * hd;
			struct ahead ahead = grad_ahead_of(&a, next, k0 + hd + lo * ldk, k0 + lo * ldk, TILE);
			read_rows(q, hdk, a.q, q0, ldq, queries, hd);
			read_rows(d_o, hdk, a.d_o, q0, ldq, queries, hd);
			for (long i = 0; i < TILE; i++) {
				vf all = set1(0);
				if (i < queries)
					EACH(c, n, hd, {
						all = vfma(load(a.o, q0 + i * ldq + c, n), load(a.d_o, q0 + i * ldq + c, n), all);
					});
				d[i] = -sum(all);
				lse[i] = i < queries ? a.lse[(b * a.h + h) * a.sq + lo + i] * log2e : 0;
			}
			turn_words(qt, (const uint32_t *)q, TILE, hdk / 2);
			turn_words(dot, (const uint32_t *)d_o, TILE, hdk / 2);
			pair_rows(qs, q, hdk, hdn, W);
			pair_rows(dos, d_o, hdk, hdn, W);
			memset(dqt, 0, sizeof dqt);
			if (steps) {
				for (long r = 0; r < step; r += 16)
					row(&sums, ring[0].s + r * TILE, TILE, NULL, 0, k + r * hdk, hdk, qt, TILE, across, hd, NULL);
				for (long r = 0; r < step; r += 16)
					row(&sums, ring[0].dp + r * TILE, TILE, d, 0, v + r * hdk, hdk, dot, TILE, across, hd, NULL);
				finish(&sums);
			}
			for (long i = 0; i <= steps && steps > 0; i++) {
				const long t = i * step, before = t - step, far = t - span;
				struct grad_step *now = &ring[i & 1], *beside = &ring[~i & 1];
				uint32_t *now_pairs = pairs + i % parts * (step / 2) * TILE;
				for (long r = TILE * i / steps; r < TILE * (i + 1) / steps; r++)
					ask(&ahead);
				for (long c = 0; c < TILE; c += BAND) {
					const int first = c == 0;
					if (i > 0) {
						float *grad = (first ? dv : dk) + before * hdn;
						for (long r = 0; r < step; r += 16)
							row(&sums, grad + r * hdn, hdn, grad + r * hdn, hdn, (uint16_t *)((first ? beside->s : beside->dp) + r * TILE), 2 * TILE, first ? dos : qs, hdn, wide, TILE, NULL);
					}
					for (long r = 0; r < hdn && first && i > 0 && i % parts == 0; r += 16)
						row(&sums, dqt + r * TILE, TILE, dqt + r * TILE, TILE, kt + far / TILE * TILE * hdn + r * TILE + far % TILE, TILE, pairs, TILE, across, span, NULL);
					if (i + 1 < steps)
						for (long r = 0; r < step; r += 16)
							row(&sums, (first ? beside->s : beside->dp) + r * TILE, TILE, first ? NULL : d, 0, (first ? k : v) + (t + step + r) * hdk, hdk, first ? qt : dot, TILE, across, hd, NULL);
					if (i == steps)
						continue;
					if (sight.least[c / BAND] >= t + step)
						softmax_grad(1, now, now_pairs + c, c, scale * log2e, t, step, step, sight.seen + c, lse + c);
					else
						softmax_grad(0, now, now_pairs + c, c, scale * log2e, t, min_l(max_l(sight.most[c / BAND] - t, 0), step), step, sight.seen + c, lse + c);
				}
				if (i + 1 == steps)
					finish(&sums);
			}
			finish(&sums);
			transpose_tile(dq, dqt, hdn, TILE, 1);
			write_head(a.dq, q0, ldq, queries, hd, dq, hdn, scale, NULL);
		}
	}
	END;
	write_head(a.dk, k0, ldk, a.sk, hd, dk, hdn, scale, NULL);
	write_head(a.dv, k0, ldk, a.sk, hd, dv, hdn, 1, amax_of(&a, b, kv));
}

// attend_grad_bf16 is every query that reads key head kv of sequence b. mem holds
// 5·S'·hd' floats.
static void attend_grad_bf16(struct attention a, int64_t b, int64_t kv, float *mem) { FOR_HEADS(attend_grad_heads, a, b, kv, mem); }
