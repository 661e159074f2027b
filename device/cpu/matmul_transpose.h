// SPDX-License-Identifier: Apache-2.0

// The transposition that packing on AVX-512 does in registers.
#ifndef OCTET_MATMUL_TRANSPOSE_H
#define OCTET_MATMUL_TRANSPOSE_H

#include "vector.h"

// transpose16 turns 16 rows of 16 words into columns.
INLINE void transpose16(__m512i r[16])
{
	__m512i t[16];
	UNROLL for (int i = 0; i < 16; i += 2) {
		t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
		t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
	}
	UNROLL for (int i = 0; i < 16; i += 4) {
		r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
		r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
		r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
		r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
	}
	// Now quarter q of r[4g+j] holds rows 4g to 4g+3 of column 4q+j.
	UNROLL for (int j = 0; j < 4; j++) {
		__m512i even01 = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88), odd01 = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xDD);
		__m512i even23 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88), odd23 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xDD);
		t[j] = _mm512_shuffle_i32x4(even01, even23, 0x88);
		t[8 + j] = _mm512_shuffle_i32x4(even01, even23, 0xDD);
		t[4 + j] = _mm512_shuffle_i32x4(odd01, odd23, 0x88);
		t[12 + j] = _mm512_shuffle_i32x4(odd01, odd23, 0xDD);
	}
	UNROLL for (int i = 0; i < 16; i++)
		r[i] = t[i];
}

#endif
