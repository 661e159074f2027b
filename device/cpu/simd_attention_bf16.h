// SPDX-License-Identifier: Apache-2.0

// Attention of bf16 tensors on units that multiply pairs of bf16 and sum
// float32: the algorithm, the vectors of queries and the mask of
// simd_attention.h. Scores, softmax, its sums and what products add up are
// float32. Backward rounds P and dS to bf16 for the products that read them. Forward
// may not (runs would leave the curves of PyTorch's): it is on AMX alone, which can afford P in
// two parts.
//
// A product is C [M,N] (+)= A·B. Rows of A have what is summed side by side;
// B has it in pairs, a word for each column:
//
//	forward   Sᵀ = K·Qᵀ     Oᵀ += Vᵀ·Pᵀ
//	backward  Sᵀ = K·Qᵀ     dPᵀ = V·dOᵀ    dQᵀ += Kᵀ·dSᵀ    dK += dSᵀ·Q    dV += Pᵀ·dO
//
// K and V are A as they come, and Pᵀ and dSᵀ as a vector of queries is stored;
// two rows of those interleaved are B. The others are turned when they are read.
//
// Whoever includes this has defined multiply, which takes blocks of 16 rows and of 16
// columns, four of the first or a multiple of four of the second, and may read what
// is summed up to a multiple of PADDED; and BEGIN and END, which stand around all products
// of a call.

#include "matmul_transpose.h"
#include "simd_attention_tile.h"

enum { PAIRS = TILE / 2, PADDED = 32 };

// read_rows copies n rows of a head to rows of width ld, which end in zeros, as
// the rows do up to TILE.
static void read_rows(uint16_t *dst, long ld, struct vec x, long at, long ldx, long n, long hd)
{
	const uint16_t *src = (const uint16_t *)x.p + at;
	memset(dst, 0, 2 * ld * up_to(n, TILE));
	for (long r = 0; r < n; r++, src += ldx, dst += ld) {
		__builtin_prefetch(src + AHEAD * ldx); // too far apart for the processor to guess
		for (long c = 0; c < hd; c += 32)
			_mm512_mask_storeu_epi16(dst + c, hd - c < 32 ? (1u << (hd - c)) - 1 : ~0u, _mm512_maskz_loadu_epi16(hd - c < 32 ? (1u << (hd - c)) - 1 : ~0u, src + c));
	}
}

// pair makes words of the elements of two rows, each in the low half of its lane.
INLINE __m512i pair(__m256i first, __m256i second)
{
	return _mm512_or_si512(_mm512_cvtepu16_epi32(first), _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16));
}

// pair_rows interleaves TILE rows of src [TILE,ld] by twos: dst [PAIRS,cols].
static void pair_rows(uint32_t *dst, const uint16_t *src, long ld, long cols)
{
	for (long r = 0; r < PAIRS; r++)
		for (long c = 0; c < cols; c += W) {
			const uint16_t *p = src + 2 * r * ld + c;
			_mm512_store_si512(dst + r * cols + c, pair(_mm256_loadu_si256((const void *)p), _mm256_loadu_si256((const void *)(p + ld))));
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
	pair_rows(pairs, src, ld, cols);
	turn_words((uint32_t *)dst, pairs, PAIRS, cols);
}

INLINE __m256i to_halves(vf v) { return (__m256i)_mm512_cvtneps_pbh(v); }

// softmax_grad_halves turns scores into P and dP into dS = P∘(dP - mean), both rounded, and dS once
// more in pairs of keys. lse is in units of log2.
static void softmax_grad_halves(uint16_t *p, uint16_t *ds, uint32_t *pairs, const float *s, const float *dp, float scale,
				const struct mask *m, const float *lse, const float *mean)
{
	for (long c = 0; c < TILE; c += W) {
		vf seen = load_f32(m->seen + c), l = load_f32(lse + c), d = load_f32(mean + c);
		long n = m->most[c / BAND], k = 0;
		for (; k < n; k += 2) {
			__m256i both[2];
			UNROLL for (int i = 0; i < 2; i++) {
				long at = (k + i) * TILE + c;
				vf e = exp2_(vfma(load_f32(s + at), set1(scale), -l));
				if (!m->whole)
					e = (vf)((vi)(seen > set1(k + i)) & (vi)e);
				_mm256_store_si256((void *)(p + at), to_halves(e));
				both[i] = to_halves(e * (load_f32(dp + at) - d));
				_mm256_store_si256((void *)(ds + at), both[i]);
			}
			_mm512_store_si512(pairs + k / 2 * TILE + c, pair(both[0], both[1]));
		}
		for (; k < TILE; k++) {
			_mm256_store_si256((void *)(p + k * TILE + c), _mm256_setzero_si256());
			_mm256_store_si256((void *)(ds + k * TILE + c), _mm256_setzero_si256());
			_mm512_store_si512(pairs + k / 2 * TILE + c, _mm512_setzero_si512());
		}
	}
}

// attend_grad_bf16 is every query that reads key head kv of sequence b. mem holds
// 5·S'·hd' floats.
static void attend_grad_bf16(struct attention a, int64_t b, int64_t kv, float *mem)
{
	const long hd = a.hd, hdn = up_to(hd, W), hdk = up_to(hd, PADDED), group = a.h / a.kv, ldq = a.h * hd, ldk = a.kv * hd;
	const long rows = up_to(a.sk, TILE), k0 = b * a.sk * ldk + kv * hd;
	const float scale = 1 / sqrtf(hd);
	float *dk = mem, *dv = dk + rows * hdn;
	uint16_t *k = (uint16_t *)(dv + rows * hdn), *v = k + rows * hdk, *kt = v + rows * hdk;
	_Alignas(64) float s[TILE * TILE], dp[TILE * TILE], lse[TILE], mean[TILE];
	_Alignas(64) uint16_t p[TILE * TILE], ds[TILE * TILE];
	_Alignas(64) uint32_t dst[PAIRS * TILE];
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
			long queries = min_l(TILE, a.sq - lo), q0 = (b * a.sq + lo) * ldq + h * hd;
			const int32_t *seen = a.seen + lo;
			for (long i = 0; i < TILE; i++) {
				vf d = set1(0);
				if (i < queries)
					EACH(c, n, hd, { d = vfma(load(a.o, q0 + i * ldq + c, n), load(a.d_o, q0 + i * ldq + c, n), d); });
				mean[i] = sum(d);
				lse[i] = i < queries ? a.lse[(b * a.h + h) * a.sq + lo + i] * 1.44269504f : 0;
			}
			read_rows(q, hdk, a.q, q0, ldq, queries, hd);
			read_rows(d_o, hdk, a.d_o, q0, ldq, queries, hd);
			turn_words(qt, (const uint32_t *)q, TILE, hdk / 2);
			turn_words(dot, (const uint32_t *)d_o, TILE, hdk / 2);
			pair_rows(qs, q, hdk, hdn);
			pair_rows(dos, d_o, hdk, hdn);
			memset(dqt, 0, sizeof dqt);
			for (long t = 0; t < seen[queries - 1]; t += TILE) {
				struct mask m = mask_of(seen, queries, t, min_l(TILE, a.sk - t));
				multiply(s, TILE, k + t * hdk, hdk, qt, TILE, TILE / 16, TILE / 16, hd, 0);
				multiply(dp, TILE, v + t * hdk, hdk, dot, TILE, TILE / 16, TILE / 16, hd, 0);
				softmax_grad_halves(p, ds, dst, s, dp, scale * 1.44269504f, &m, lse, mean);
				multiply(dqt, TILE, kt + t * hdn, TILE, dst, TILE, hdn / 16, TILE / 16, TILE, 1);
				multiply(dk + t * hdn, hdn, ds, TILE, qs, hdn, TILE / 16, hdn / 16, TILE, 1);
				multiply(dv + t * hdn, hdn, p, TILE, dos, hdn, TILE / 16, hdn / 16, TILE, 1);
			}
			transpose_tile(dq, dqt, hdn, TILE, 1);
			write_head(a.dq, q0, ldq, queries, hd, dq, hdn, scale);
		}
	}
	END;
	write_head(a.dk, k0, ldk, a.sk, hd, dk, hdn, scale);
	write_head(a.dv, k0, ldk, a.sk, hd, dv, hdn, 1);
}
