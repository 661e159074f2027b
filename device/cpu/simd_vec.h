// SPDX-License-Identifier: Apache-2.0

// What the kernels of simd_*.h are made of: typed loads and stores, loops, and
// exponentials.

#include <math.h>
#include <string.h>

#include "simd.h"
#include "vector.h"

// load and store move k <= W elements, of either high-precision type, from
// element i on. Lanes past k are 0.
INLINE vf load(struct vec x, long i, long k)
{
	if (x.type == F32) {
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
	if (x.type == F32) {
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
		store_bf16(p, v);
		return;
	}
	store_bf16(buf, v);
	memcpy(p, buf, 2 * k);
}

// BF16_WIDE is how many bf16 a vector holds.
enum { BF16_WIDE = 2 * W };

INLINE struct vec floats(const float *p) { return (struct vec){.p = (void *)p, .type = F32}; }

INLINE int32_t largest(vi v)
{
	int32_t a = 0;
	for (int i = 0; i < W; i++)
		a = v[i] > a ? v[i] : a;
	return a;
}

// part is n elements of x from element i on.
INLINE struct vec part(struct vec x, long i, long n) { return (struct vec){.p = (char *)x.p + i * size_of(x.type), .n = n, .type = x.type}; }

// rows_of is n rows of d elements from row r on, of a tensor that may be left out.
INLINE struct vec rows_of(struct vec x, long d, long r, long n) { return x.p ? part(x, r * d, n * d) : x; }

// BY_TYPE calls body with the type that all its tensors have as a constant
// first argument, for which the compiler makes a loop of its own, or with 0.
// Bodies pin their tensors' types to it.
#define BY_TYPE(type, body, ...)                   \
	do                                             \
		switch (type) {                            \
		case F32:                             \
			body(F32, __VA_ARGS__);           \
			break;                                 \
		case BF16:                            \
			body(BF16, __VA_ARGS__);          \
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

// near_power is 2^r of |r| <= 1/2, within 2e-8 but for rounding, and 1 at 0.
INLINE vf near_power(vf r)
{
	vf p = set1(1.54532624e-4f);
	p = vfma(p, r, set1(1.339097825e-3f));
	p = vfma(p, r, set1(9.618082371e-3f));
	p = vfma(p, r, set1(5.550356899e-2f));
	p = vfma(p, r, set1(2.402265076e-1f));
	p = vfma(p, r, set1(6.931471881e-1f));
	return vfma(p, r, set1(1.f));
}

// exp2_ is 2^x for finite x <= 1, as close as exp_.
INLINE vf exp2_(vf x)
{
#if W == 8 // where scale2 takes no less
	x = vmax(set1(-127.f), x);
#endif
	const vf r = above_nearest(x);
	return scale2(near_power(r), x - r);
}

// What a kernel that goes over memory once will read, or write, FAR bytes from here is asked for by instructions
// of its own: the processor's own asking ends at each page of memory.
enum { FAR = 2048 };
INLINE void ask_ahead(const void *p) { __builtin_prefetch((const char *)p + FAR, 0, 3); }
INLINE void ask_to_write(const void *p) { __builtin_prefetch((const char *)p + FAR, 1, 3); }
INLINE void ask_ahead_of(struct vec x, long i) { ask_ahead((const char *)x.p + i * size_of(x.type)); }
INLINE void ask_to_write_of(struct vec x, long i) { ask_to_write((const char *)x.p + i * size_of(x.type)); }

#if W == 16

// power is 2^x within an error of degree's, relative: 2.7e-6 of 4, 1.5e-7 of 5. It is the polynomial on
// [0,1) whose largest error is least, of what x is above the integer below.
INLINE vf power(const int degree, vf x)
{
	enum { FROM_BELOW = 9 };
	vf r = _mm512_reduce_ps(x, FROM_BELOW), p;
	if (degree == 4) {
		p = vfma(set1(1.353416778e-2f), r, set1(5.201146007e-2f));
		p = vfma(p, r, set1(2.414427549e-1f));
		p = vfma(p, r, set1(6.930038333e-1f));
		p = vfma(p, r, set1(1.000002623f));
	} else {
		p = vfma(set1(1.877576695e-3f), r, set1(8.989339694e-3f));
		p = vfma(p, r, set1(5.582631752e-2f));
		p = vfma(p, r, set1(2.401536107e-1f));
		p = vfma(p, r, set1(6.931530833e-1f));
		p = vfma(p, r, set1(9.999999404e-1f));
	}
	return scale2(p, x); // by the integer below
}

// lanes are those of a vector of bf16 that are below n.
INLINE __mmask32 lanes(long n) { return n < BF16_WIDE ? (1u << n) - 1 : ~0u; }

// two is a vector of bf16, widened: those at even places and those at odd ones, which takes no shuffle.
struct two {
	vf even, odd;
};

INLINE struct two widen_two(vi u) { return (struct two){(vf)(u << 16), (vf)(u & (int32_t)0xFFFF0000)}; }

INLINE struct two load_two(const uint16_t *p, __mmask32 k)
{
	return widen_two((vi)_mm512_maskz_loadu_epi16(k, p));
}

// add_two adds to floats, which have the values in order.
INLINE void add_two(float *p, __mmask32 k, struct two v)
{
	const __m512i first = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0), second = first + _mm512_set1_epi64(8 | 8L << 32);
	const __mmask16 low = k, high = k >> 16;
	_mm512_mask_storeu_ps(p, low, _mm512_maskz_loadu_ps(low, p) + _mm512_permutex2var_ps(v.even, first, v.odd));
	_mm512_mask_storeu_ps(p + W, high, _mm512_maskz_loadu_ps(high, p + W) + _mm512_permutex2var_ps(v.even, second, v.odd));
}

// store_pairs rounds as store_bf16 does, and is what was stored, as it lies.
INLINE vi store_pairs(uint16_t *p, __mmask32 k, struct two v)
{
	vi u;
#ifdef BF16_INSTRUCTION
	const int subnormal = 0x20;
	if (__builtin_expect((_mm512_fpclass_ps_mask(v.even, subnormal) | _mm512_fpclass_ps_mask(v.odd, subnormal)) == 0, 1)) {
		const __m512i zip = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
		u = (vi)_mm512_permutexvar_epi16(zip, (__m512i)_mm512_cvtne2ps_pbh(v.odd, v.even));
	} else
#endif
		u = to_bf16(v.even) | (to_bf16(v.odd) << 16);
	_mm512_mask_storeu_epi16(p, k, (__m512i)u);
	return u;
}

INLINE struct two store_two(uint16_t *p, __mmask32 k, struct two v) { return widen_two(store_pairs(p, k, v)); }

// store_raising is store_two that raises most, where an amax is asked for, to the magnitudes of what it stores.
INLINE void store_raising(const int asked, vh *most, uint16_t *p, __mmask32 k, struct two v)
{
	const __m512i u = (__m512i)store_pairs(p, k, v);
	if (asked)
		*most = (vh)_mm512_mask_max_epu16((__m512i)*most, k, (__m512i)*most, _mm512_and_si512(u, _mm512_set1_epi16(0x7FFF)));
}

#endif
