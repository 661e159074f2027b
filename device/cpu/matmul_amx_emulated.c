// SPDX-License-Identifier: Apache-2.0

// AMX's product of bf16 tiles on any AVX-512, bit for bit as Intel documents it
// (Software Developer's Manual, TDPBF16PS), to test packing and loops where
// there are no tiles: even and odd elements of a tile's k are each summed from
// zero by fused multiply-adds, the two sums added, and that added to the sum of
// the tiles before. Inputs and results that are subnormal count as zero, and
// rounding is to nearest even, whatever the thread has set.

//go:build cgo && amd64

#include "matmul_amx.h"
#include "matmul_avx512.h"
#include "matmul_finish_avx512.h"

static void nothing(void) {}

// Sixteen rows of op(a) by sixteen columns.
__attribute__((noinline)) static void multiply(const uint32_t *a, const uint32_t *b, float *block)
{
	const __m512i high = _mm512_set1_epi32((int)0xFFFF0000);
	for (int i = 0; i < 16; i++, block += AMX_LANES) {
		__m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
		for (int k = 0; k < 16; k++) {
			__m512i x = _mm512_set1_epi32((int)a[16 * i + k]), y = _mm512_load_si512(b + 16 * k);
			even = _mm512_fmadd_ps((__m512)_mm512_slli_epi32(x, 16), (__m512)_mm512_slli_epi32(y, 16), even);
			odd = _mm512_fmadd_ps((__m512)_mm512_and_si512(x, high), (__m512)_mm512_and_si512(y, high), odd);
		}
		_mm512_store_ps(block, _mm512_add_ps(_mm512_load_ps(block), _mm512_add_ps(even, odd)));
	}
}

static void finish_emulated(const struct matmul *p, const struct block *b)
{
	finish(round_bf16, AMX_LANES, p, b->row, b->rows, b->col, b->cols, b->sums, 1);
}

static void kernel(int64_t tiles, const uint32_t *a, int64_t a_next, const uint32_t *b, int64_t b_next, const float *from, float *to, int64_t height,
		   const struct matmul *p, const struct block *done)
{
	const unsigned mode = _mm_getcsr();
	for (int i = 0; i < AMX_LANES * AMX_LANES; i++)
		to[i] = from ? from[i] : 0;
	_mm_setcsr(0x1F80 | _MM_FLUSH_ZERO_ON | 0x40); // all masked, to nearest, subnormals are zero
	for (; tiles > 0; tiles--, a += TILE_WORDS, b += TILE_WORDS)
		for (int i = 0; i < 4; i++)
			multiply(a + i / 2 * a_next, b + i % 2 * b_next, to + i / 2 * 16 * AMX_LANES + i % 2 * 16);
	_mm_setcsr(mode);
	finish_emulated(p, done);
}

const struct amx_unit *octet_amx_emulated(void)
{
	static const struct amx_unit u = {.begin = nothing, .end = nothing, .kernel = kernel, .finish = finish_emulated};
	return &u;
}
