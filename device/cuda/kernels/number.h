// SPDX-License-Identifier: Apache-2.0

// Numbers of the narrow types, bit for bit those of package dtype, but that a NaN is the
// canonical one: 0x7FFF in bfloat16, as the processor's instruction has it, 0x7F in float8.

#pragma once

// The element types, by the numbers of dtype.Type.
enum type : u32 { FLOAT32 = 1, BFLOAT16 = 2, E4M3 = 3, E5M2 = 4, UINT8 = 5, INT32 = 6 };

DEV u32 size_of(u32 t) { return t == FLOAT32 || t == INT32 ? 4 : t == BFLOAT16 ? 2 : 1; }

#define INFINITY_BITS 0x7F800000u
#define NAN_BITS 0x7FC00000u

DEV float infinity() { return as_float(INFINITY_BITS); }
DEV float nan32() { return as_float(NAN_BITS); }

// magnitude is the bits of |x|, whose order as integers is that of the values; a NaN,
// above all, is the canonical one.
DEV u32 magnitude(float x) {
	const u32 a = as_bits(x) & 0x7FFFFFFF;
	return a > INFINITY_BITS ? NAN_BITS : a;
}

DEV float from_bf16(u16 h) { return as_float((u32)h << 16); }

DEV u16 to_bf16(float x) {
#if defined(__CUDA_ARCH__)
	u16 h;
	asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(x));
	return h;
#else
	const u32 u = as_bits(x);
	if ((u & 0x7FFFFFFF) > INFINITY_BITS) return 0x7FFF;
	return (u16)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
#endif
}

// pack_bf16 has lo in its low half.
DEV u32 pack_bf16(float lo, float hi) {
#if defined(__CUDA_ARCH__)
	u32 r;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
	return r;
#else
	return (u32)to_bf16(lo) | (u32)to_bf16(hi) << 16;
#endif
}

// encode_in_integers is dtype.Format.Encode.
DEV u8 encode_in_integers(u32 t, float x) {
	const u32 bias = t == E4M3 ? 7 : 15, man = t == E4M3 ? 3 : 2, most = t == E4M3 ? 0x43E00000 : 0x47600000;
	const u32 u = as_bits(x), a = min_of(u & 0x7FFFFFFF, most);
	// The addition rounds a subnormal to the low bits of its sum.
	const u32 magic = (127 + 24 - bias - man) << 23, small = as_bits(add_rn(as_float(a), as_float(magic))) - magic;
	const u32 q = a - ((127 - bias) << 23), large = (q + (1u << (22 - man)) - 1 + (q >> (23 - man) & 1)) >> (23 - man);
	const u32 code = a >= (128 - bias) << 23 ? large : small;
	return (u8)((u & 0x7FFFFFFF) > INFINITY_BITS ? 0x7F : code | u >> 31 << 7);
}

// encode4 is four numbers in a float8 format, saturated, the first in the low byte.
DEV u32 encode4(u32 t, const float *x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
	u16 lo, hi;
	if (t == E4M3) {
		asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(lo) : "f"(x[1]), "f"(x[0]));
		asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(hi) : "f"(x[3]), "f"(x[2]));
	} else {
		asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(lo) : "f"(x[1]), "f"(x[0]));
		asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(hi) : "f"(x[3]), "f"(x[2]));
	}
	return (u32)lo | (u32)hi << 16;
#else
	u32 r = 0;
	for (u32 i = 0; i < 4; i++) r |= (u32)encode_in_integers(t, x[i]) << 8 * i;
	return r;
#endif
}

DEV u8 encode(u32 t, float x) {
	const float four[4] = {x, 0, 0, 0};
	return (u8)encode4(t, four);
}

// decode is exact: an exponent's field is moved to float32's, and the product with a
// power of two rights both it and a subnormal.
DEV float decode(u32 t, u8 code) {
	const u32 a = code & 0x7F, shift = t == E4M3 ? 20 : 21, last = t == E4M3 ? 0x7E : 0x7B;
	const float f = as_float(a << shift) * (t == E4M3 ? 0x1p120f : 0x1p112f);
	const u32 bits = a <= last ? as_bits(f) : t == E5M2 && a == 0x7C ? INFINITY_BITS : NAN_BITS;
	return as_float(bits | (u32)(code >> 7) << 31);
}

// scale_of is the factor that takes an amax to a format's range; see dtype.Format.Scale.
DEV float scale_of(u32 t, float amax, bool pow2) {
	const double least = 1e-12, a = (double)amax;
	const float s = (float)((t == E4M3 ? 448.0 : 57344.0) / (a < least ? least : a));
	if (!pow2 || s == 0 || s != s) return s;
	// exp2(floor(log2(s))) in float32: next below 2^k the logarithm is rounded to k.
	u32 u = as_bits(s);
	const i32 k = (i32)(u >> 23) - 126;
	u32 bits = 0;
	for (u32 m = (u32)(k - 1 > -k ? k - 1 : -k); m > 0; m >>= 1) bits++;
	const u32 rounds_up = 45426u >> (17 - bits); // floor(ln2·2^(bits-1))
	if ((1u << 23) - (u & 0x7FFFFF) <= rounds_up) u += 1u << 23;
	return as_float(u & ~0x7FFFFFu);
}
