// SPDX-License-Identifier: Apache-2.0

// The loops of MatMul around the kernels of a unit, after Goto and van de
// Geijn, "Anatomy of high-performance matrix multiplication" (2008), with the
// roles of the caches exchanged: a strip of op(a), 24 KiB, is packed just
// before it is used and stays in L1 while the packed columns of op(b), at most
// 512 KiB, stream past from L2.
//
// Every element of dst is summed over k in the same order, whatever the tiles:
// steps in ascending order inside a block of TILE_STEPS, blocks in ascending
// order.

//go:build cgo && amd64

#include "matmul.h"

static int64_t min(int64_t x, int64_t y) { return x < y ? x : y; }

void octet_matmul_tile(const struct matmul_unit *u, const struct matmul *p, int64_t row, int64_t rows, int64_t col,
		       int64_t cols, void *workspace)
{
	uint32_t *a = workspace, *b = a + STRIP * TILE_STEPS;
	float *partial = (float *)(b + TILE_COLS * TILE_STEPS);
	float local[16 * 64] __attribute__((aligned(64)));

	const int64_t k = p->a.k, block_k = (int64_t)TILE_STEPS * u->k_per_word;
	const int block = u->mr * u->nr;
	const struct strides by = p->a.k_contiguous ? (struct strides){TILE_STEPS, 1} : (struct strides){1, STRIP};
	float scale = u->bias(p->a.type) * u->bias(p->b.type);
	if (p->scale_a || p->scale_b)
		scale *= (p->scale_a ? 1 / *p->scale_a : 1) * (p->scale_b ? 1 / *p->scale_b : 1);

	for (int64_t k0 = 0; k0 == 0 || k0 < k; k0 += block_k) {
		const int64_t steps = (min(k - k0, block_k) + u->k_per_word - 1) / u->k_per_word;
		const int first = k0 == 0, last = k0 + block_k >= k;
		const int64_t strip = steps * STRIP;

		for (int64_t c = 0; c < cols; c += u->nr)
			for (int64_t l = 0; l < u->nr; l += u->b_lanes)
				u->pack_b(b + (c + l) / u->b_lanes * strip, &p->b, col + c + l, k0, steps);

		float *next = partial;
		for (int64_t r = 0; r < rows; r += STRIP) {
			u->pack_a(a, &p->a, row + r, k0, steps);
			for (int64_t c = 0; c < cols; c += u->nr) {
				for (int64_t h = 0; h < STRIP && r + h < rows; h += u->mr) {
					float *sum = first && last ? local : next;
					u->kernel(steps, a + h * by.row, by, b + c / u->b_lanes * strip, sum, !first);
					if (last)
						u->finish(p, row + r + h, min(rows - r - h, u->mr), col + c,
							  min(cols - c, u->nr), sum, scale);
					next += block;
				}
			}
		}
	}
}
