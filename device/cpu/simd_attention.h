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
// Heads are padded with zeros to a multiple of W, key tiles to one of ROWS rows.

#include "simd_attention_tile.h"

// A mask is how many keys of a tile each query of another sees; a later query
// sees no fewer.
struct mask {
	long queries, keys;
	int whole;               // all see whole blocks of ROWS, and seen is not set
	long most[TILE / BAND]; // of a strip of queries, its last
	long blind[TILE / ROWS]; // how many queries see none of these keys
	float seen[TILE];
};

// mask_of is the mask of queries that see so many of all keys, and of the keys
// from t on.
static struct mask mask_of(const int32_t *seen, long queries, long t, long keys)
{
	struct mask m = {.queries = queries, .keys = keys, .whole = seen[0] - t >= up_to(keys, ROWS)};
	for (long c = 0; c < queries; c += BAND)
		m.most[c / BAND] = min_l(max_l(seen[min_l(c + BAND, queries) - 1] - t, 0), keys);
	if (m.whole)
		return m;
	for (long i = 0; i < queries; i++)
		m.seen[i] = min_l(max_l(seen[i] - t, 0), keys);
	for (long r = 0, i = 0; r < keys; r += ROWS) {
		while (i < queries && m.seen[i] <= r)
			i++;
		m.blind[r / ROWS] = i;
	}
	return m;
}

// mm_block is ROWS rows by cols·W columns of out (+)= A · B, summed over n;
// element (r,l) of A is a[r·row + l·step].
INLINE void mm_block(const int cols, float *out, long ldo, const float *a, long row, long step, const float *b, long ldb, long n, int add)
{
	vf acc[ROWS][2];
#pragma GCC unroll 8
	for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
		for (int c = 0; c < cols; c++)
			acc[r][c] = add ? load_f32(out + r * ldo + c * W) : set1(0);
	for (long l = 0; l < n; l++) {
		vf vb[2];
#pragma GCC unroll 2
		for (int c = 0; c < cols; c++)
			vb[c] = load_f32(b + l * ldb + c * W);
#pragma GCC unroll 8
		for (int r = 0; r < ROWS; r++) {
			vf va = set1(a[r * row + l * step]);
#pragma GCC unroll 2
			for (int c = 0; c < cols; c++)
				acc[r][c] = vfma(va, vb[c], acc[r][c]);
		}
	}
#pragma GCC unroll 8
	for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
		for (int c = 0; c < cols; c++)
			store_f32(out + r * ldo + c * W, acc[r][c]);
}

INLINE void strip(float *out, const float *a, long row, long step, const float *b, long n, int add)
{
	mm_block(BAND / W, out, TILE, a, row, step, b, TILE, n, add);
}

// The three products of attention leave out what the mask makes 0.

// mm_scores is S [keys,TILE] = A [keys,hd] · B [hd,TILE]; strips of queries
// that see none of ROWS keys are not written.
static void mm_scores(float *s, const float *a, long hdp, const float *b, long hd, const struct mask *m)
{
	for (long r = 0; r < m->keys; r += ROWS)
		for (long c = 0; c < TILE; c += BAND)
			if (r < m->most[c / BAND])
				strip(s + r * TILE + c, a + r * hdp, hdp, 1, b + c, hd, 0);
}

// mm_queries is O [hdp,TILE] += Aᵀ · P for A [keys,hdp], P [keys,TILE].
static void mm_queries(float *o, const float *a, long hdp, const float *p, const struct mask *m)
{
	for (long r = 0; r < hdp; r += ROWS)
		for (long c = 0; c < TILE; c += BAND)
			strip(o + r * TILE + c, a + r, 1, hdp, p + c, m->most[c / BAND], 1);
}

// mm_keys is G [keys,hdp] += P [keys,TILE] · B for B [queries,hdp].
static void mm_keys(float *g, const float *p, const float *b, long hdp, const struct mask *m)
{
	for (long r = 0; r < m->keys; r += ROWS) {
		long first = m->blind[r / ROWS], queries = m->queries, c = 0;
		const float *pr = p + r * TILE + first, *br = b + first * hdp;
		if (BAND > W)
			for (; c + BAND <= hdp; c += BAND)
				mm_block(BAND / W, g + r * hdp + c, hdp, pr, TILE, 1, br + c, hdp, queries - first, 1);
		for (; c < hdp; c += W)
			mm_block(1, g + r * hdp + c, hdp, pr, TILE, 1, br + c, hdp, queries - first, 1);
	}
}

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

// softmax_tile turns scores, in units of log2, into P, and keeps each query's
// running maximum and sum; Oᵀ is brought to the new maximum.
static void softmax_tile(float *p, const struct mask *m, float *most, float *total, float *out, long hdp)
{
	enum { BESIDE = BAND / W }; // of which none waits for another
	for (long c = 0; c < TILE; c += BAND) {
		const long n = m->most[c / BAND];
		vf seen[BESIDE], old[BESIDE], big[BESIDE], shrink[BESIDE], all[BESIDE];
		UNROLL for (int j = 0; j < BESIDE; j++) {
			seen[j] = load_f32(m->seen + c + j * W);
			old[j] = big[j] = load_f32(most + c + j * W);
		}
		for (long k = 0; k < n; k++)
			UNROLL for (int j = 0; j < BESIDE; j++) {
				float *at = p + k * TILE + c + j * W;
				vf s = load_f32(at);
				if (!m->whole) {
					s = masked(s, seen[j], k);
					store_f32(at, s);
				}
				big[j] = vmax(big[j], s);
			}
		UNROLL for (int j = 0; j < BESIDE; j++) {
			shrink[j] = exp2_(old[j] - big[j]);
			all[j] = load_f32(total + c + j * W) * shrink[j];
		}
		for (long k = 0; k < n; k++)
			UNROLL for (int j = 0; j < BESIDE; j++) {
				float *at = p + k * TILE + c + j * W;
				vf e = exp2_(load_f32(at) - big[j]);
				store_f32(at, e);
				all[j] += e;
			}
		UNROLL for (int j = 0; j < BESIDE; j++) {
			store_f32(most + c + j * W, big[j]);
			store_f32(total + c + j * W, all[j]);
		}
		for (long r = 0; r < hdp; r++)
			UNROLL for (int j = 0; j < BESIDE; j++) {
				float *at = out + r * TILE + c + j * W;
				store_f32(at, load_f32(at) * shrink[j]);
			}
	}
}

// softmax_grad_tile turns scores into P, and dP into dS = P∘(dP - mean), mean
// being rowsum(do∘o).
static void softmax_grad_tile(float *p, float *ds, const struct mask *m, const float *lse, const float *mean)
{
	for (long c = 0; c < TILE; c += W) {
		vf seen = load_f32(m->seen + c), l = load_f32(lse + c), d = load_f32(mean + c);
		long n = up_to(m->most[c / BAND], ROWS); // mm_keys reads whole blocks
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
				mm_scores(p, k + t * hdp, hdp, qt, hd, &m);
				softmax_tile(p, &m, most, total, out, hdp);
				mm_queries(out, v + t * hdp, hdp, p, &m);
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
				mm_scores(p, k + t * hdp, hdp, qt, hd, &m);
				mm_scores(ds, v + t * hdp, hdp, dot, hd, &m);
				softmax_grad_tile(p, ds, &m, lse, mean);
				mm_queries(dqt, k + t * hdp, hdp, ds, &m);
				mm_keys(dk + t * hdp, ds, q, hdp, &m);
				mm_keys(dv + t * hdp, p, d_o, hdp, &m);
			}
			transpose_tile(q, dqt, hdp, TILE, 1);
			write_head(a.dq, q0, ldq, queries, hd, q, hdp, scale, NULL);
		}
	}
	write_head(a.dk, k0, ldk, a.sk, hd, dk, hdp, scale, NULL);
	write_head(a.dv, k0, ldk, a.sk, hd, dv, hdp, 1, amax_of(&a, b, kv));
}
