// SPDX-License-Identifier: Apache-2.0

// Vectors of W floats and the few operations that kernels need of them. W is 16
// (AVX-512) or 8 (AVX2 and FMA); whoever includes this has set it and the
// target. Sums across a vector have a fixed order.
#ifndef OCTET_VECTOR_H
#define OCTET_VECTOR_H

#include <immintrin.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16") // in full, so that arrays become registers

typedef int32_t vi __attribute__((vector_size(4 * W)));
typedef uint32_t vu __attribute__((vector_size(4 * W)));
typedef uint16_t vh __attribute__((vector_size(4 * W)));
typedef double vd __attribute__((vector_size(4 * W))); // half as many

#if W == 16

typedef __m512 vf;

INLINE vf set1(float x) { return _mm512_set1_ps(x); }
INLINE vf load_f32(const float *p) { return _mm512_loadu_ps(p); }
INLINE void store_f32(float *p, vf v) { _mm512_storeu_ps(p, v); }
INLINE vi load_u16(const uint16_t *p) { return (vi)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)); }
INLINE void store_u16(uint16_t *p, vi v) { _mm256_storeu_si256((void *)p, _mm512_cvtepi32_epi16((__m512i)v)); }
INLINE void store_u8(uint8_t *p, vi v) { _mm_storeu_si128((void *)p, _mm512_cvtepi32_epi8((__m512i)v)); }
INLINE vf vfma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf vmax(vf a, vf b) { return _mm512_max_ps(a, b); } // b if either is NaN
INLINE vf vmin(vf a, vf b) { return _mm512_min_ps(a, b); } // b if either is NaN
INLINE vi min_i(vi a, vi b) { return (vi)_mm512_min_epi32((__m512i)a, (__m512i)b); }
INLINE vi max_i(vi a, vi b) { return (vi)_mm512_max_epi32((__m512i)a, (__m512i)b); }
INLINE vh load_vh(const uint16_t *p) { return (vh)_mm512_loadu_si512(p); }
INLINE vh max_vh(vh a, vh b) { return (vh)_mm512_max_epu16((__m512i)a, (__m512i)b); }
INLINE vf vroot(vf a) { return _mm512_sqrt_ps(a); }
INLINE vf rint_(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vf above_nearest(vf a) { return _mm512_reduce_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); } // a - rint_(a)
INLINE vf scale2(vf a, vf n) { return _mm512_scalef_ps(a, n); } // a·2^n
INLINE float sum(vf a) { return _mm512_reduce_add_ps(a); }
INLINE float top(vf a) { return _mm512_reduce_max_ps(a); }
INLINE vf swap_pairs(vf a) { return _mm512_permute_ps(a, 0xB1); }
INLINE vf even_pairs(vf a) { return _mm512_moveldup_ps(a); }
INLINE vf odd_pairs(vf a) { return _mm512_movehdup_ps(a); }
INLINE vu where_nan(vf v, vu a, vu b) { return (vu)_mm512_mask_mov_epi32((__m512i)b, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), (__m512i)a); } // a where v is NaN, else b
INLINE vf sub_add(vf a, vf b, vf c) { return _mm512_fmaddsub_ps(a, b, c); } // a·b ∓ c
INLINE vd low_half(vf a) { return _mm512_cvtps_pd(_mm512_castps512_ps256(a)); }
INLINE vd high_half(vf a) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)); }
#define LEAST_EXP (-104.f) // e^x below is 0

#else

typedef __m256 vf;

INLINE vf set1(float x) { return _mm256_set1_ps(x); }
INLINE vf load_f32(const float *p) { return _mm256_loadu_ps(p); }
INLINE void store_f32(float *p, vf v) { _mm256_storeu_ps(p, v); }
INLINE vi load_u16(const uint16_t *p) { return (vi)_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)); }
INLINE __m128i pack_u16(vi v) // v is within 16 bits
{
	__m256i x = (__m256i)v;
	return _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
}
INLINE void store_u16(uint16_t *p, vi v) { _mm_storeu_si128((void *)p, pack_u16(v)); }
INLINE void store_u8(uint8_t *p, vi v) { _mm_storel_epi64((void *)p, _mm_packus_epi16(pack_u16(v), _mm_setzero_si128())); }
INLINE vf vfma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf vmax(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vf vmin(vf a, vf b) { return _mm256_min_ps(a, b); }
INLINE vi min_i(vi a, vi b) { return (vi)_mm256_min_epi32((__m256i)a, (__m256i)b); }
INLINE vi max_i(vi a, vi b) { return (vi)_mm256_max_epi32((__m256i)a, (__m256i)b); }
INLINE vh load_vh(const uint16_t *p) { return (vh)_mm256_loadu_si256((const void *)p); }
INLINE vh max_vh(vh a, vh b) { return (vh)_mm256_max_epu16((__m256i)a, (__m256i)b); }
INLINE vf vroot(vf a) { return _mm256_sqrt_ps(a); }
INLINE vf rint_(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vf above_nearest(vf a) { return a - rint_(a); }
// scale2 is a·2^n for n in -127 to 128 and a near 1; -127 gives 0, NaN stays.
INLINE vf scale2(vf a, vf n)
{
	// In two factors, because 2^128 is not a float.
	vi e = (vi)_mm256_cvtps_epi32(n), half = e >> 1;
	vf lo = (vf)((half + 127) << 23), hi = (vf)((e - half + 127) << 23);
	vi zero = (vi)(n < -126.f); // and not NaN
	return (vf)((vi)(a * lo * hi) & ~zero);
}
INLINE float sum(vf a)
{
	__m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	x = _mm_add_ps(x, _mm_movehl_ps(x, x));
	return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
INLINE float top(vf a)
{
	__m128 x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	x = _mm_max_ps(x, _mm_movehl_ps(x, x));
	return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
INLINE vf swap_pairs(vf a) { return _mm256_permute_ps(a, 0xB1); }
INLINE vf even_pairs(vf a) { return _mm256_moveldup_ps(a); }
INLINE vf odd_pairs(vf a) { return _mm256_movehdup_ps(a); }
INLINE vu where_nan(vf v, vu a, vu b) { return (vu)_mm256_blendv_epi8((__m256i)b, (__m256i)a, (__m256i)_mm256_cmp_ps(v, v, _CMP_UNORD_Q)); }
INLINE vf sub_add(vf a, vf b, vf c) { return _mm256_fmaddsub_ps(a, b, c); }
INLINE vd low_half(vf a) { return _mm256_cvtps_pd(_mm256_castps256_ps128(a)); }
INLINE vd high_half(vf a) { return _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)); }
#define LEAST_EXP (-87.9f)

#endif

INLINE vi set1_i(int32_t x) { return x - (vi){0}; }
INLINE vi select_i(vi mask, vi a, vi b) { return (mask & a) | (~mask & b); }
INLINE long min_l(long a, long b) { return a < b ? a : b; }
INLINE long max_l(long a, long b) { return a > b ? a : b; }


// round_upper rounds to nearest even to the bf16 in the upper half of each lane; below it stays what may. NaN
// becomes a quiet NaN.
INLINE vu round_upper(vf v)
{
	vu u = (vu)v;
	return where_nan(v, u | 0x400000, u + ((u >> 16 & 1) + 0x7FFF));
}

// to_bf16 is that in the low half.
INLINE vi to_bf16(vf v) { return (vi)(round_upper(v) >> 16); }

// store_bf16 stores what to_bf16 makes, by the instruction where there is one. That takes
// subnormals for zero.
INLINE void store_bf16(uint16_t *p, vf v)
{
#ifdef BF16_INSTRUCTION
	const int subnormal = 0x20;
	if (__builtin_expect(_mm512_fpclass_ps_mask(v, subnormal) == 0, 1)) {
		_mm256_storeu_si256((void *)p, (__m256i)_mm512_cvtneps_pbh(v));
		return;
	}
#endif
	store_u16(p, to_bf16(v));
}

// transpose8 turns 8 rows of 8 floats into columns.
INLINE void transpose8(__m256 r[8])
{
	__m256 t[8];
	UNROLL for (int i = 0; i < 8; i += 2) {
		t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
		t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
	}
	UNROLL for (int i = 0; i < 8; i += 4) {
		r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
		r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
		r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
		r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
	}
	UNROLL for (int i = 0; i < 4; i++) {
		t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
		t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
	}
	UNROLL for (int i = 0; i < 8; i++)
		r[i] = t[i];
}

#endif
