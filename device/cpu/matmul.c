// SPDX-License-Identifier: Apache-2.0

// The loops of MatMul around the kernels of a unit, after Goto and van de
// Geijn, "Anatomy of high-performance matrix multiplication" (2008), with the
// roles of the caches exchanged: a strip of op(a), 32 KiB, is packed just
// before it is used and stays in L1 while the packed columns of op(b), at most
// 512 KiB, stream past from L2.
//
// Every element of dst is summed over k in the same order, whatever the tiles:
// steps in ascending order inside a block of TILE_STEPS, blocks in ascending
// order.

//go:build cgo && amd64

#include "matmul.h"

static int64_t min(int64_t x, int64_t y) { return x < y ? x : y; }

// Assembly, because gcc takes a function of __builtin_prefetch alone for one
// without effects and drops the call.
static inline void prefetch(const void *p) { __asm__ volatile("prefetcht0 %0" : : "m"(*(const char *)p)); }
static inline void prefetch_to_write(const void *p) { __asm__ volatile("prefetchw %0" : : "m"(*(const char *)p)); }

// The memory that op(a) will be packed from, in areas that follow one another: the
// lanes of a strip where k is contiguous, else AREA bytes of every step, because a
// few lines in a row come almost as fast as one.
struct ahead {
	const char *area;
	int64_t areas, lanes, next; // lanes of an area, bytes from one to the next
	int64_t rows, ld, lines;    // an area's rows of cache lines, ld bytes apart
	int64_t row, line, done;    // what to ask for next, and areas asked for
};

enum { AREA = 256 };

static struct ahead memory_of(const struct matmul_source *s, int64_t lane0, int64_t lanes, int64_t strip, int64_t k0, int64_t n)
{
	const int64_t size = size_of(s->type), ld = s->ld * size;
	const char *data = s->data;
	struct ahead q = {.area = data + k0 * ld + lane0 * size, .lanes = AREA / size, .next = AREA, .rows = n, .ld = ld, .lines = AREA / 64};
	if (s->k_contiguous)
		q = (struct ahead){.area = data + lane0 * ld + k0 * size, .lanes = strip, .next = strip * ld, .rows = strip, .ld = ld, .lines = (n * size + 63) / 64};
	q.areas = (lanes + q.lanes - 1) / q.lanes;
	return q;
}

// Asks for some lines more. The processor drops requests that come too many at
// a time, so each kernel is preceded by a few.
static void prefetch_some(struct ahead *q, int64_t lines)
{
	for (; lines > 0 && q->done < q->areas; lines--) {
		prefetch(q->area + q->row * q->ld + q->line * 64);
		if (++q->line < q->lines)
			continue;
		q->line = 0;
		if (++q->row < q->rows)
			continue;
		q->row = 0;
		q->area += q->next;
		q->done++;
	}
}

// How many lines to ask for before each of the kernels of a strip: so many that the
// next strip, which ends before lane end, is there in time, or a share of what comes
// after it.
static int64_t share_of(const struct ahead *q, int64_t end, int64_t strip, int64_t kernels)
{
	const int64_t lines = q->rows * q->lines, needed = (end + q->lanes - 1) / q->lanes;
	if (q->done < needed)
		return lines * (needed - q->done) / kernels + 1;
	return q->done == needed && q->lanes > strip ? lines * strip / q->lanes / kernels + 1 : 0;
}

void octet_matmul_tile(const struct matmul_unit *u, const struct matmul *p, int64_t row, int64_t rows, int64_t col,
		       int64_t cols, void *workspace)
{
	uint32_t *a = workspace, *b = a + STRIP * TILE_STEPS;
	float *partial = (float *)(b + TILE_COLS * TILE_STEPS);
	float local[16 * 64] __attribute__((aligned(64)));

	const int64_t k = p->a.k, block_k = (int64_t)TILE_STEPS * u->k_per_word;
	const int block = u->mr * u->nr;
	const struct strides by = p->a.k_contiguous ? (struct strides){.row = TILE_STEPS, .step = 1} : (struct strides){.row = 1, .step = STRIP};
	const int64_t blocks = (cols + u->nr - 1) / u->nr, kernels = blocks * (u->a_lanes / u->mr); // of a strip of op(a)
	const float bias = u->bias(p->a.type) * u->bias(p->b.type);

	for (int64_t k0 = 0; k0 == 0 || k0 < k; k0 += block_k) {
		const int64_t n = min(k - k0, block_k), steps = (n + u->k_per_word - 1) / u->k_per_word;
		const int first = k0 == 0, last = k0 + block_k >= k;
		const int64_t strip = steps * STRIP;

		u->pack_b(b, &p->b, col, blocks * (u->nr / u->b_lanes), k0, steps);

		float *next = partial;
		struct ahead ahead = memory_of(&p->a, row, rows, u->a_lanes, k0, n);
		for (int64_t r = 0; r < rows; r += u->a_lanes) {
			u->pack_a(a, &p->a, row + r, k0, steps);
			const int64_t share = share_of(&ahead, min(rows, r + 2 * u->a_lanes), u->a_lanes, kernels);
			for (int64_t c = 0; c < cols; c += u->nr) {
				const int64_t width = min(cols - c, u->nr);
				for (int64_t h = 0; h < u->a_lanes && r + h < rows; h += u->mr, next += block) {
					const int64_t height = min(rows - r - h, u->mr);
					float *sums = first && last ? local : next;
					prefetch_some(&ahead, share);
					if (!(first && last))
						for (int i = 0; i < block; i += 16)
							prefetch_to_write(sums + i);
					u->kernel(height, steps, a + h * by.row, by, b + c / u->b_lanes * strip, sums, !first);
					if (last)
						u->finish(p, row + r + h, height, col + c, width, sums, bias);
				}
			}
		}
	}
}
