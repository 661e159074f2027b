// SPDX-License-Identifier: Apache-2.0

// AMX: what multiplies its tiles, finishes their sums, and measures its peak.

//go:build cgo && amd64

#pragma GCC target("avx512bf16,amx-tile,amx-bf16")

#include "matmul_amx.h"
#include "matmul_avx512.h"
#include "matmul_finish_avx512.h"
#include "peak.h"

// All eight tiles are whole.
static const struct {
	uint8_t palette, start_row, reserved[14];
	uint16_t bytes[16];
	uint8_t rows[16];
} config __attribute__((aligned(64))) = {.palette = 1, .bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

static void begin(void) { _tile_loadconfig(&config); }

// What is released need not be saved when the thread is switched.
static void end(void) { _tile_release(); }

static void kernel(int64_t tiles, const uint32_t *a, int64_t a_next, const uint32_t *b, int64_t b_next, const float *from, float *to, int64_t height)
{
	enum { ROW = 64, BLOCK_ROW = 4 * AMX_LANES, HALF = 16 * AMX_LANES };
	__asm__ volatile("" ::: "memory"); // tiles are read behind the compiler's back
	if (from) {
		_tile_loadd(0, from, BLOCK_ROW);
		_tile_loadd(1, from + 16, BLOCK_ROW);
		_tile_loadd(2, from + HALF, BLOCK_ROW);
		_tile_loadd(3, from + HALF + 16, BLOCK_ROW);
	} else {
		_tile_zero(0);
		_tile_zero(1);
		_tile_zero(2);
		_tile_zero(3);
	}
	if (height > 16) {
		for (; tiles > 0; tiles--, a += TILE_WORDS, b += TILE_WORDS) {
			_tile_stream_loadd(6, b, ROW);
			_tile_loadd(4, a, ROW);
			_tile_dpbf16ps(0, 4, 6);
			_tile_stream_loadd(7, b + b_next, ROW);
			_tile_dpbf16ps(1, 4, 7);
			_tile_loadd(5, a + a_next, ROW);
			_tile_dpbf16ps(2, 5, 6);
			_tile_dpbf16ps(3, 5, 7);
		}
		_tile_stored(2, to + HALF, BLOCK_ROW);
		_tile_stored(3, to + HALF + 16, BLOCK_ROW);
	} else
		for (; tiles > 0; tiles--, a += TILE_WORDS, b += TILE_WORDS) {
			_tile_loadd(4, a, ROW);
			_tile_stream_loadd(6, b, ROW);
			_tile_dpbf16ps(0, 4, 6);
			_tile_stream_loadd(7, b + b_next, ROW);
			_tile_dpbf16ps(1, 4, 7);
		}
	_tile_stored(0, to, BLOCK_ROW);
	_tile_stored(1, to + 16, BLOCK_ROW);
}

// round_fast is round_bf16 by the instruction, which would flush subnormals.
INLINE __m256i round_fast(__m512 v)
{
	if (__builtin_expect(_mm512_testn_epi32_mask((__m512i)v, _mm512_set1_epi32(0x7F800000)), 0))
		return round_bf16(v);
	return (__m256i)_mm512_cvtneps_pbh(v);
}

static void finish_amx(const struct matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols, const float *block)
{
	finish(round_fast, AMX_LANES, p, row, rows, col, cols, block, 1);
}

const struct amx_unit *octet_amx(void)
{
	static const struct amx_unit u = {.begin = begin, .end = end, .kernel = kernel, .finish = finish_amx};
	return &u;
}

// Six tiles of sums; the factors are the last two.
void octet_spin_amx(int64_t rounds)
{
	begin();
	__asm__ volatile("tilezero %%tmm6\n\ttilezero %%tmm7\n\t"
			 ".irp n,0,1,2,3,4,5\n\ttilezero %%tmm\\n\n\t.endr\n"
			 "1:\n\t"
			 ".irp n,0,1,2,3,4,5\n\ttdpbf16ps %%tmm7, %%tmm6, %%tmm\\n\n\t.endr\n\t"
			 "dec %0\n\t"
			 "jnz 1b\n\t"
			 : "+r"(rounds)
			 :
			 : "cc");
	end();
}
