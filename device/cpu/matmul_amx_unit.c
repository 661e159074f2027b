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

// round_fast is round_bf16 by the instruction, which would flush subnormals.
INLINE __m512i round_fast(__m512 low, __m512 high)
{
	const int subnormal = 0x20;
	if (__builtin_expect(_mm512_fpclass_ps_mask(low, subnormal) | _mm512_fpclass_ps_mask(high, subnormal), 0))
		return round_bf16(low, high);
	return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

static void finish_amx(const struct matmul *p, const struct block *b)
{
	finish(round_fast, AMX_LANES, p, b->row, b->rows, b->col, b->cols, b->sums, 1);
}

enum { ROW = 64, BLOCK_ROW = 4 * AMX_LANES, HALF = 16 * AMX_LANES };

INLINE void start(const float *from)
{
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
}

// ask asks memory for what a row of 32 values takes.
INLINE void ask(int type, const char *p)
{
	for (int i = 0; i < AMX_LANES * size_of(type); i += 64)
		_mm_prefetch(p + i, _MM_HINT_T1);
}

INLINE void kernel_as(int type, int accumulate, int64_t tiles, const uint32_t *a, int64_t a_next, const uint32_t *b, int64_t b_next,
		      const float *from, float *to, const struct matmul *p, const struct block *done)
{
	const struct columns columns = columns_at(p, done->col, done->cols);
	const int64_t each = done->rows / (tiles + 1) + 1; // rows that are finished beside a tile
	// The next rows of dst are asked for in the order they lie in memory, a line for each that is finished.
	const char *ahead = (const char *)p->dst + ((done->row + AMX_LANES) * p->n + AMX_LANES * done->col) * size_of(type);
	int64_t row = 0;

	start(from);
	for (int64_t stop = each; tiles > 0; tiles--, a += TILE_WORDS, b += TILE_WORDS, stop += each) {
		_tile_stream_loadd(6, b, ROW);
		_tile_loadd(4, a, ROW);
		_tile_dpbf16ps(0, 4, 6);
		_tile_stream_loadd(7, b + b_next, ROW);
		_tile_dpbf16ps(1, 4, 7);
		_tile_loadd(5, a + a_next, ROW);
		_tile_dpbf16ps(2, 5, 6);
		_tile_dpbf16ps(3, 5, 7);
		for (; row < stop && row < done->rows; row++) {
			if (done->whole)
				ask(type, ahead + row * AMX_LANES * size_of(type));
			finish_row(round_fast, type, accumulate, p, done->row + row, done->col, columns, done->sums + row * AMX_LANES, 1);
		}
	}
	for (; row < done->rows; row++)
		finish_row(round_fast, type, accumulate, p, done->row + row, done->col, columns, done->sums + row * AMX_LANES, 1);
	_tile_stored(0, to, BLOCK_ROW);
	_tile_stored(1, to + 16, BLOCK_ROW);
	_tile_stored(2, to + HALF, BLOCK_ROW);
	_tile_stored(3, to + HALF + 16, BLOCK_ROW);
}

// kernel_low has 16 rows.
static void kernel_low(int64_t tiles, const uint32_t *a, const uint32_t *b, int64_t b_next, const float *from, float *to)
{
	start(from);
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

static void kernel(int64_t tiles, const uint32_t *a, int64_t a_next, const uint32_t *b, int64_t b_next, const float *from, float *to, int64_t height,
		   const struct matmul *p, const struct block *done)
{
	if (height <= 16) {
		finish_amx(p, done);
		kernel_low(tiles, a, b, b_next, from, to);
	} else if (p->dst_type == F32 && !p->accumulate)
		kernel_as(F32, 0, tiles, a, a_next, b, b_next, from, to, p, done);
	else if (p->dst_type == F32)
		kernel_as(F32, 1, tiles, a, a_next, b, b_next, from, to, p, done);
	else if (!p->accumulate)
		kernel_as(BF16, 0, tiles, a, a_next, b, b_next, from, to, p, done);
	else
		kernel_as(BF16, 1, tiles, a, a_next, b, b_next, from, to, p, done);
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
