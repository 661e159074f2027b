// SPDX-License-Identifier: Apache-2.0

// Causal attention in tiles (arXiv 2205.14135): TILE queries meet TILE keys at
// a time, the softmax keeps a running maximum and sum (forward) or is redone
// from its logarithm (backward), and the S×S matrix is never whole.
//
// Vectors run over queries: a tile of scores is Sᵀ [keys][queries]. A query's
// maximum, sum, and rowsum(do∘o) are then lanes, nothing is reduced across a
// vector, and the causal mask is a comparison of lanes. Every product is a
// small matmul over tiles in the first cache, made of mm_block; only Q, dO and
// what leaves are transposed.
//
//	forward   Sᵀ = K·Qᵀ     Oᵀ += Vᵀ·Pᵀ
//	backward  Sᵀ = K·Qᵀ     dPᵀ = V·dOᵀ    dQᵀ += Kᵀ·dSᵀ    dK += dSᵀ·Q    dV += Pᵀ·dO
//
// Heads are padded with zeros to a multiple of W.

#include "simd_attention_products.h"

// read_head copies n rows of a head, ld elements apart in x, to f32 rows of
// width hdp; rows up to TILE are 0.
static void read_head(float *dst, long hdp, struct vec x, long at, long ld, long n, long hd)
{
	long size = size_of(x.type);
	for (long r = 0; r < n; r++) {
		// Rows are too far apart for the processor to guess the next.
		__builtin_prefetch((char *)x.p + (at + (r + AHEAD) * ld) * size);
		for (long c = 0; c < hdp; c += W)
			store_f32(dst + r * hdp + c, c < hd ? load(x, at + r * ld + c, min_l(W, hd - c)) : set1(0));
	}
	memset(dst + n * hdp, 0, 4 * hdp * (up_to(n, TILE) - n));
}

// softmax_strip turns scores of so many vectors of queries, in units of log2, into P, and keeps each query's running
// maximum and sum; Oᵀ is brought to the new maximum.
INLINE void softmax_strip(const int vectors, const int whole, float *p, long n, const float *seen, float *most, float *total, float *out, long hdp)
{
	vf last[WIDE], old[WIDE], big[WIDE], shrink[WIDE], all[WIDE]; // of which none waits for another
	UNROLL for (int j = 0; j < vectors; j++) {
		last[j] = load_f32(seen + j * W);
		old[j] = big[j] = load_f32(most + j * W);
	}
	for (long k = 0; k < n; k++)
		UNROLL for (int j = 0; j < vectors; j++) {
			float *at = p + k * TILE + j * W;
			vf s = load_f32(at);
			if (!whole) {
				s = masked(s, last[j], k);
				store_f32(at, s);
			}
			big[j] = vmax(big[j], s);
		}
	UNROLL for (int j = 0; j < vectors; j++) {
		shrink[j] = exp2_(old[j] - big[j]);
		all[j] = load_f32(total + j * W) * shrink[j];
	}
	for (long k = 0; k < n; k++)
		UNROLL for (int j = 0; j < vectors; j++) {
			float *at = p + k * TILE + j * W;
			vf e = exp2_(load_f32(at) - big[j]);
			store_f32(at, e);
			all[j] += e;
		}
	UNROLL for (int j = 0; j < vectors; j++) {
		store_f32(most + j * W, big[j]);
		store_f32(total + j * W, all[j]);
	}
	for (long r = 0; r < hdp; r++)
		UNROLL for (int j = 0; j < vectors; j++) {
			float *at = out + r * TILE + j * W;
			store_f32(at, load_f32(at) * shrink[j]);
		}
}

// softmax_tile is all strips of a tile, each as wide as it may.
static void softmax_tile(float *p, const struct mask *m, float *most, float *total, float *out, long hdp)
{
	long c = 0;
	for (; m->whole && c + WIDE <= m->vectors; c += WIDE)
		softmax_strip(WIDE, 1, p + c * W, m->most[c], m->seen + c * W, most + c * W, total + c * W, out + c * W, hdp);
	for (; c < m->vectors; c++)
		softmax_strip(1, m->whole, p + c * W, m->most[c], m->seen + c * W, most + c * W, total + c * W, out + c * W, hdp);
}

// softmax_grad_tile turns scores into P, and dP into dS = P∘(dP - mean), mean
// being rowsum(do∘o).
static void softmax_grad_tile(float *p, float *ds, const struct mask *m, const float *lse, const float *mean)
{
	for (long c = 0; c < m->vectors * W; c += W) {
		vf seen = load_f32(m->seen + c), l = load_f32(lse + c), d = load_f32(mean + c);
		long n = up_to(m->most[c / W], ROWS); // mm_keys reads whole blocks
		for (long k = 0; k < n; k++) {
			vf s = load_f32(p + k * TILE + c) - l, dp = load_f32(ds + k * TILE + c);
			if (!m->whole)
				s = masked(s, seen, k);
			vf e = exp2_(s);
			store_f32(p + k * TILE + c, e);
			store_f32(ds + k * TILE + c, e * (dp - d));
		}
	}
}

// attend is every query that reads key head kv of sequence b. mem holds
// 2·S'·hd' floats, S' and hd' being S and hd rounded up to TILE and 16.
static void attend(struct attention a, int64_t b, int64_t kv, float *mem)
{
	long hd = a.hd, hdp = up_to(hd, W), group = a.h / a.kv, ldq = a.h * hd, ldk = a.kv * hd;
	long rows = up_to(a.sk, TILE), k0 = b * a.sk * ldk + kv * hd;
	float *k = mem, *v = k + rows * hdp, scale = 1.44269504f / sqrtf(hd);
	_Alignas(64) float p[TILE * TILE], most[TILE], total[TILE];
	float q[TILE * hdp] __attribute__((aligned(64))), qt[TILE * hdp] __attribute__((aligned(64)));
	float out[TILE * hdp] __attribute__((aligned(64)));

	read_head(k, hdp, a.k, k0, ldk, a.sk, hd);
	read_head(v, hdp, a.v, k0, ldk, a.sk, hd);
	for (long h = kv * group; h < (kv + 1) * group; h++) {
		const long next = b * a.sq * ldq + (h + 1) * hd;
		struct ahead ahead = ahead_of(&a, next, k0 + hd, a.sq);
		for (long lo = 0; lo < a.sq; lo += TILE) {
			long queries = min_l(TILE, a.sq - lo), q0 = (b * a.sq + lo) * ldq + h * hd;
			const int32_t *seen = a.seen + lo;
			read_head(q, hdp, a.q, q0, ldq, queries, hd);
			transpose_tile(qt, q, TILE, hdp, scale);
			memset(out, 0, sizeof out);
			for (int i = 0; i < TILE; i++) {
				most[i] = HIDDEN;
				total[i] = 0;
			}
			for (long t = 0; t < seen[queries - 1]; t += TILE) {
				struct mask m = mask_of(seen, queries, t, min_l(TILE, a.sk - t));
				mm_scores(&ahead, p, k + t * hdp, hdp, qt, hd, &m);
				softmax_tile(p, &m, most, total, out, hdp);
				mm_queries(&ahead, out, v + t * hdp, hdp, p, &m);
			}
			write_queries(a, b, h, lo, queries, q, out, hdp, most, total);
		}
	}
}

// attend_grad is every query that reads key head kv of sequence b. mem holds
// 4·S'·hd' floats.
static void attend_grad(struct attention a, int64_t b, int64_t kv, float *mem)
{
	long hd = a.hd, hdp = up_to(hd, W), group = a.h / a.kv, ldq = a.h * hd, ldk = a.kv * hd;
	long rows = up_to(a.sk, TILE), k0 = b * a.sk * ldk + kv * hd;
	float *k = mem, *v = k + rows * hdp, *dk = v + rows * hdp, *dv = dk + rows * hdp;
	float scale = 1 / sqrtf(hd);
	_Alignas(64) float p[TILE * TILE], ds[TILE * TILE], lse[TILE], mean[TILE];
	float q[TILE * hdp] __attribute__((aligned(64))), d_o[TILE * hdp] __attribute__((aligned(64)));
	float qt[TILE * hdp] __attribute__((aligned(64))), dot[TILE * hdp] __attribute__((aligned(64)));
	float dqt[TILE * hdp] __attribute__((aligned(64)));

	read_head(k, hdp, a.k, k0, ldk, a.sk, hd);
	read_head(v, hdp, a.v, k0, ldk, a.sk, hd);
	memset(dk, 0, 8 * rows * hdp);
	for (long h = kv * group; h < (kv + 1) * group; h++) {
		const long next = b * a.sq * ldq + (h + 1) * hd;
		struct ahead ahead = grad_ahead_of(&a, next, k0 + hd, k0 + hd, a.sq);
		for (long lo = 0; lo < a.sq; lo += TILE) {
			long queries = min_l(TILE, a.sq - lo), q0 = (b * a.sq + lo) * ldq + h * hd;
			const int32_t *seen = a.seen + lo;
			read_head(q, hdp, a.o, q0, ldq, queries, hd);
			read_head(d_o, hdp, a.d_o, q0, ldq, queries, hd);
			for (long i = 0; i < TILE; i++) {
				vf d = set1(0);
				for (long c = 0; c < hdp; c += W)
					d = vfma(load_f32(q + i * hdp + c), load_f32(d_o + i * hdp + c), d);
				mean[i] = sum(d);
				lse[i] = i < queries ? a.lse[(b * a.h + h) * a.sq + lo + i] * 1.44269504f : 0;
			}
			read_head(q, hdp, a.q, q0, ldq, queries, hd);
			transpose_tile(qt, q, TILE, hdp, scale * 1.44269504f);
			transpose_tile(dot, d_o, TILE, hdp, 1);
			memset(dqt, 0, sizeof dqt);
			for (long t = 0; t < seen[queries - 1]; t += TILE) {
				struct mask m = mask_of(seen, queries, t, min_l(TILE, a.sk - t));
				mm_scores(&ahead, p, k + t * hdp, hdp, qt, hd, &m);
				mm_scores(&ahead, ds, v + t * hdp, hdp, dot, hd, &m);
				softmax_grad_tile(p, ds, &m, lse, mean);
				mm_queries(&ahead, dqt, k + t * hdp, hdp, ds, &m);
				mm_keys(&ahead, dk + t * hdp, ds, q, hdp, &m);
				mm_keys(&ahead, dv + t * hdp, p, d_o, hdp, &m);
			}
			transpose_tile(q, dqt, hdp, TILE, 1);
			write_head(a.dq, q0, ldq, queries, hd, q, hdp, scale, NULL);
		}
	}
	write_head(a.dk, k0, ldk, a.sk, hd, dk, hdp, scale, NULL);
	write_head(a.dv, k0, ldk, a.sk, hd, dv, hdp, 1, amax_of(&a, b, kv));
}
