// SPDX-License-Identifier: Apache-2.0

// Vectors of W floats, the few operations the kernels need of them, and typed
// loads and stores. W is 16 (AVX-512) or 8 (AVX2 and FMA); whoever includes
// this has set it and the target. Sums across a vector have a fixed order.

#include <math.h>
#include <stdint.h>
#include <string.h>
#include <immintrin.h>

#include "simd.h"

#define INLINE static inline __attribute__((always_inline))

typedef int32_t vi __attribute__((vector_size(4 * W)));
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
INLINE vf vroot(vf a) { return _mm512_sqrt_ps(a); }
INLINE vf rint_(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vf scale2(vf a, vf n) { return _mm512_scalef_ps(a, n); } // a·2^n
INLINE float sum(vf a) { return _mm512_reduce_add_ps(a); }
INLINE float top(vf a) { return _mm512_reduce_max_ps(a); }
INLINE vf swap_pairs(vf a) { return _mm512_permute_ps(a, 0xB1); }
INLINE vf even_pairs(vf a) { return _mm512_moveldup_ps(a); }
INLINE vf odd_pairs(vf a) { return _mm512_movehdup_ps(a); }
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
INLINE vf vroot(vf a) { return _mm256_sqrt_ps(a); }
INLINE vf rint_(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
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
INLINE vf sub_add(vf a, vf b, vf c) { return _mm256_fmaddsub_ps(a, b, c); }
INLINE vd low_half(vf a) { return _mm256_cvtps_pd(_mm256_castps256_ps128(a)); }
INLINE vd high_half(vf a) { return _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)); }
#define LEAST_EXP (-87.9f)

#endif

INLINE vi set1_i(int32_t x) { return x - (vi){0}; }
INLINE vi select_i(vi mask, vi a, vi b) { return (mask & a) | (~mask & b); }
INLINE long min_l(long a, long b) { return a < b ? a : b; }
INLINE long max_l(long a, long b) { return a > b ? a : b; }

// to_bf16 rounds to nearest even; a NaN stays one.
INLINE vi to_bf16(vf v)
{
#if W == 16
	__m512i u = (__m512i)v, high = _mm512_srli_epi32(u, 16);
	__m512i up = _mm512_add_epi32(_mm512_and_si512(high, _mm512_set1_epi32(1)), _mm512_set1_epi32(0x7FFF));
	__m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(u, up), 16);
	__mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
	return (vi)_mm512_mask_or_epi32(rounded, nan, high, _mm512_set1_epi32(0x40));
#else
	vi u = (vi)v, high = (u >> 16) & 0xFFFF;
	vi rounded = ((u + 0x7FFF + (high & 1)) >> 16) & 0xFFFF;
	return select_i((vi)_mm256_cmp_ps(v, v, _CMP_UNORD_Q), high | 0x40, rounded);
#endif
}

// load and store move k <= W elements, of either high-precision type, from
// element i on. Lanes past k are 0.
INLINE vf load(struct vec x, long i, long k)
{
	if (x.type == SIMD_F32) {
		const float *p = (const float *)x.p + i;
		if (k == W)
			return load_f32(p);
		float buf[W] = {0};
		memcpy(buf, p, 4 * k);
		return load_f32(buf);
	}
	const uint16_t *p = (const uint16_t *)x.p + i;
	if (k == W)
		return (vf)(load_u16(p) << 16);
	uint16_t buf[W] = {0};
	memcpy(buf, p, 2 * k);
	return (vf)(load_u16(buf) << 16);
}

INLINE void store(struct vec x, long i, long k, vf v)
{
	if (x.type == SIMD_F32) {
		float *p = (float *)x.p + i, buf[W];
		if (k == W) {
			store_f32(p, v);
			return;
		}
		store_f32(buf, v);
		memcpy(p, buf, 4 * k);
		return;
	}
	uint16_t *p = (uint16_t *)x.p + i, buf[W];
	if (k == W) {
		store_u16(p, to_bf16(v));
		return;
	}
	store_u16(buf, to_bf16(v));
	memcpy(p, buf, 2 * k);
}

INLINE struct vec floats(const float *p) { return (struct vec){(void *)p, 0, SIMD_F32}; }

// BY_TYPE calls body with the type that all its tensors have as a constant
// first argument, for which the compiler makes a loop of its own, or with 0.
// Bodies pin their tensors' types to it.
#define BY_TYPE(type, body, ...)                   \
	do                                             \
		switch (type) {                            \
		case SIMD_F32:                             \
			body(SIMD_F32, __VA_ARGS__);           \
			break;                                 \
		case SIMD_BF16:                            \
			body(SIMD_BF16, __VA_ARGS__);          \
			break;                                 \
		default:                                   \
			body(0, __VA_ARGS__);                  \
		}                                          \
	while (0)

INLINE int common(int a, int b) { return a == b ? a : 0; }
INLINE struct vec pin(const int type, struct vec x)
{
	if (type)
		x.type = type;
	return x;
}

// EACH runs its body for i = 0, W, 2W, … below n, with k = the lanes in use: a
// constant W in the loop, and a copy of the body for the rest.
#define EACH(i, k, n, ...)                         \
	do {                                           \
		long i = 0, n_##i = (n);                   \
		for (; i + W <= n_##i; i += W) {           \
			enum { k = W };                        \
			__VA_ARGS__                            \
		}                                          \
		if (i < n_##i) {                           \
			long k = n_##i - i;                    \
			__VA_ARGS__                            \
		}                                          \
	} while (0)

// exp_ is e^x within 1.1 units in the last place: infinity above 88.72, NaN for
// NaN, and 0 where no float is small enough (no normal float on AVX2).
// x = n·ln2 + r, and a polynomial for e^r on |r| <= ln2/2, which was
// interpolated at Chebyshev points (relative error 1e-8).
INLINE vf exp_(vf x)
{
	x = vmax(set1(LEAST_EXP), vmin(set1(89.f), x));
	vf n = rint_(x * set1(1.44269504f));
	vf r = vfma(n, set1(-0.693359375f), x);
	r = vfma(n, set1(2.12194440e-4f), r);
	vf p = set1(0.0013926250831f);
	p = vfma(p, r, set1(0.0083632328837f));
	p = vfma(p, r, set1(0.0416665542130f));
	p = vfma(p, r, set1(0.1666657657612f));
	p = vfma(p, r, set1(0.5f));
	p = vfma(p, r * r, r) + set1(1.f);
	return scale2(p, n);
}

// exp2_ is 2^x for finite x <= 1, as close.
INLINE vf exp2_(vf x)
{
#if W == 8 // where scale2 takes no less
	x = vmax(set1(-127.f), x);
#endif
	vf n = rint_(x);
	vf r = x - n;
	vf p = set1(1.54532624e-4f);
	p = vfma(p, r, set1(1.339097825e-3f));
	p = vfma(p, r, set1(9.618082371e-3f));
	p = vfma(p, r, set1(5.550356899e-2f));
	p = vfma(p, r, set1(2.402265076e-1f));
	p = vfma(p, r, set1(6.931471881e-1f));
	p = vfma(p, r, set1(1.f));
	return scale2(p, n);
}
