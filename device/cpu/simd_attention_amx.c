// SPDX-License-Identifier: Apache-2.0

// Attention of bf16 tensors on AMX.

//go:build cgo && amd64

#pragma GCC optimize("fp-contract=off")
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,amx-tile,amx-bf16")
#define W 16

#include "matmul_amx.h"
#include "simd_vec.h"

#define BEGIN octet_amx()->begin()
#define END octet_amx()->end()

// multiply is rows·16 by cols·16 of C (+)= A·B, summed over n. Rows are ldc floats
// apart in C, lda halves in A, ldb words in B.
static void multiply(float *c, long ldc, const uint16_t *a, long lda, const uint32_t *b, long ldb, long rows, long cols, long n, int add)
{
	// Four tiles of sums in a row where the columns have it, else below one another.
	const int wide = cols % 4 == 0;
	const long next = wide ? 16 : 16 * ldc, count = wide ? rows : cols, groups = wide ? cols / 4 : 1;
	__asm__ volatile("" ::: "memory"); // tiles are read behind the compiler's back
	for (long g = 0; g < groups; g++)
		for (long i = 0; i < count; i++) {
			float *to = c + (wide ? i * 16 * ldc + g * 64 : i * 16);
			if (add) {
				_tile_loadd(0, to, 4 * ldc);
				_tile_loadd(1, to + next, 4 * ldc);
				_tile_loadd(2, to + 2 * next, 4 * ldc);
				_tile_loadd(3, to + 3 * next, 4 * ldc);
			} else {
				_tile_zero(0);
				_tile_zero(1);
				_tile_zero(2);
				_tile_zero(3);
			}
			for (long k = 0; k * 32 < n; k++)
				if (wide) {
					const uint32_t *y = b + k * 16 * ldb + g * 64;
					_tile_loadd(4, a + i * 16 * lda + k * 32, 2 * lda);
					_tile_loadd(5, y, 4 * ldb);
					_tile_dpbf16ps(0, 4, 5);
					_tile_loadd(6, y + 16, 4 * ldb);
					_tile_dpbf16ps(1, 4, 6);
					_tile_loadd(7, y + 32, 4 * ldb);
					_tile_dpbf16ps(2, 4, 7);
					_tile_loadd(5, y + 48, 4 * ldb);
					_tile_dpbf16ps(3, 4, 5);
				} else {
					const uint16_t *x = a + k * 32;
					_tile_loadd(4, b + k * 16 * ldb + i * 16, 4 * ldb);
					_tile_loadd(5, x, 2 * lda);
					_tile_dpbf16ps(0, 5, 4);
					_tile_loadd(6, x + 16 * lda, 2 * lda);
					_tile_dpbf16ps(1, 6, 4);
					_tile_loadd(7, x + 32 * lda, 2 * lda);
					_tile_dpbf16ps(2, 7, 4);
					_tile_loadd(5, x + 48 * lda, 2 * lda);
					_tile_dpbf16ps(3, 5, 4);
				}
			_tile_stored(0, to, 4 * ldc);
			_tile_stored(1, to + next, 4 * ldc);
			_tile_stored(2, to + 2 * next, 4 * ldc);
			_tile_stored(3, to + 3 * next, 4 * ldc);
		}
}

#include "simd_attention_bf16.h"

// softmax_pairs turns scores into P, in pairs of keys: cut off to bf16, and what that left,
// rounded, which together are P within 2^-15 of it. It keeps each query's running maximum, in
// units of log2, and sum; Oᵀ is brought to the new maximum where there is one.
static void softmax_pairs(uint32_t *p, uint32_t *rest, const float *s, float scale, const struct mask *m, float *most, float *total, float *out, long hdn)
{
	for (long c = 0; c < TILE; c += W) {
		vf seen = load_f32(m->seen + c), old = load_f32(most + c), big = set1(HIDDEN);
		long n = m->most[c / BAND], k = 0;
		for (; k < n; k++) {
			vf x = load_f32(s + k * TILE + c);
			big = vmax(big, m->whole ? x : masked(x, seen, k));
		}
		big = vmax(old, big * set1(scale));
		vf all = set1(0);
		for (k = 0; k < n; k += 2) {
			vu high[2], low[2];
			UNROLL for (int i = 0; i < 2; i++) {
				vf e = exp2_(vfma(load_f32(s + (k + i) * TILE + c), set1(scale), -big));
				if (!m->whole)
					e = (vf)((vi)(seen > set1(k + i)) & (vi)e);
				all += e;
				high[i] = (vu)e & 0xFFFF0000;
				low[i] = (vu)(e - (vf)high[i]) + 0x8000; // to round
			}
			_mm512_store_si512(p + k / 2 * TILE + c, (__m512i)(high[0] >> 16 | high[1]));
			_mm512_store_si512(rest + k / 2 * TILE + c, (__m512i)(low[0] >> 16 | (low[1] & 0xFFFF0000)));
		}
		for (; k < TILE; k += 2) {
			_mm512_store_si512(p + k / 2 * TILE + c, _mm512_setzero_si512());
			_mm512_store_si512(rest + k / 2 * TILE + c, _mm512_setzero_si512());
		}
		if (_mm512_cmp_ps_mask(old, big, _CMP_NEQ_UQ)) {
			vf shrink = exp2_(old - big);
			store_f32(most + c, big);
			store_f32(total + c, load_f32(total + c) * shrink);
			for (long r = 0; r < hdn; r++)
				store_f32(out + r * TILE + c, load_f32(out + r * TILE + c) * shrink);
		}
		store_f32(total + c, load_f32(total + c) + all);
	}
}

// octet_attend_amx is every query that reads key head kv of sequence b. mem holds 2·S'·hd'
// floats, S' and hd' being S and hd rounded up to TILE and 16.
void octet_attend_amx(struct attention a, int64_t b, int64_t kv, float *mem)
{
	const long hd = a.hd, hdn = up_to(hd, W), hdk = up_to(hd, PADDED), group = a.h / a.kv, ldq = a.h * hd, ldk = a.kv * hd;
	const long rows = up_to(a.sk, TILE), k0 = b * a.sk * ldk + kv * hd;
	const float scale = 1.44269504f / sqrtf(hd);
	uint16_t *k = (uint16_t *)mem, *vt = k + rows * hdk;
	_Alignas(64) float s[TILE * TILE], most[TILE], total[TILE];
	_Alignas(64) uint32_t p[PAIRS * TILE], rest[PAIRS * TILE];
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
			long queries = min_l(TILE, a.sq - lo), q0 = (b * a.sq + lo) * ldq + h * hd;
			const int32_t *seen = a.seen + lo;
			read_rows(q, hdk, a.q, q0, ldq, queries, hd);
			turn_words(qt, (const uint32_t *)q, TILE, hdk / 2);
			memset(out, 0, sizeof out);
			for (int i = 0; i < TILE; i++) {
				most[i] = HIDDEN;
				total[i] = 0;
			}
			for (long t = 0; t < seen[queries - 1]; t += TILE) {
				struct mask m = mask_of(seen, queries, t, min_l(TILE, a.sk - t));
				multiply(s, TILE, k + t * hdk, hdk, qt, TILE, TILE / 16, TILE / 16, hd, 0);
				softmax_pairs(p, rest, s, scale, &m, most, total, out, hdn);
				multiply(out, TILE, vt + t * hdn, TILE, p, TILE, hdn / 16, TILE / 16, TILE, 1);
				multiply(out, TILE, vt + t * hdn, TILE, rest, TILE, hdn / 16, TILE / 16, TILE, 1);
			}
			write_queries(a, b, h, lo, queries, o, out, hdn, most, total);
		}
	}
	END;
}

void octet_attend_grad_amx(struct attention a, int64_t b, int64_t kv, float *mem) { attend_grad_bf16(a, b, kv, mem); }
