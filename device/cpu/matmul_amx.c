// SPDX-License-Identifier: Apache-2.0

// The loops of MatMul around AMX. A tile of it multiplies eight times as fast as
// the f32 unit, so packing and sums that pass through memory would weigh eight
// times as much: the columns of op(b) are packed for as much of k as the second
// cache holds, and a strip of op(a), cut along k to fit the first, meets all of
// them before it is gone. An instruction adds 32 products to a sum that is in a
// tile or came back from memory with the same bits, so a sum is one chain over
// k, whatever the blocks.

//go:build cgo && amd64

#include "matmul_amx.h"

enum {
	STRIP_TILES = 16, // of op(a) along k: 32 KiB
	GROUP = 128,      // rows of op(a) packed at a time where each step of k is a line of them, not to read lines in parts
	A_WORDS = STRIP_TILES * GROUP / 16 * TILE_WORDS,
	B_WORDS = 1 << 18,
	LOCAL = AMX_LANES * AMX_LANES,
};
// Sums wait in memory where op(b) comes in several blocks, so in as few columns as a whole one has.
_Static_assert(4 * (A_WORDS + B_WORDS + TILE_ROWS * (B_WORDS / (BLOCK_TILES * TILE_K / 2))) <= WORKSPACE, "a tile does not fit the workspace");

static int64_t min(int64_t x, int64_t y) { return x < y ? x : y; }
static int64_t up(int64_t x, int64_t multiple) { return (x + multiple - 1) / multiple * multiple; }

void octet_pack_amx_all(enum side side, uint32_t *packed, const struct matmul_source *s, int64_t lane0, int64_t lanes)
{
	const int64_t tiles = (s->k + TILE_K - 1) / TILE_K, padded = up(lanes, AMX_LANES), block = side == SIDE_A ? tiles : BLOCK_TILES;

	packed += lane0 / 16 * tiles * TILE_WORDS;
	for (int64_t b0 = 0; b0 < tiles; b0 += block)
		octet_pack_amx(side, packed + padded / 16 * b0 * TILE_WORDS, s, lane0, padded, b0 * TILE_K, min(tiles - b0, block));
}

void octet_matmul_amx(const struct amx_unit *u, const struct matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols, void *workspace)
{
	uint32_t *own_a = workspace, *own_b = own_a + A_WORDS;
	float *sums = (float *)(own_b + B_WORDS), local[2][LOCAL] __attribute__((aligned(64)));
	const int64_t tiles = (p->a.k + TILE_K - 1) / TILE_K, padded = up(cols, AMX_LANES);
	const int64_t group = p->a.k_contiguous ? AMX_LANES : GROUP;
	struct block done = {0}; // waits to be finished while the next is multiplied
	int turn = 0;

	u->begin();
	for (int64_t b0 = 0; b0 == 0 || b0 < tiles; b0 += BLOCK_TILES) {
		const int64_t block = min(tiles - b0, BLOCK_TILES);
		const uint32_t *b = own_b;
		if (p->b_packed)
			b = p->b_packed + (col / 16 * tiles + padded / 16 * b0) * TILE_WORDS;
		else
			octet_pack_amx(SIDE_B, own_b, &p->b, col, padded, b0 * TILE_K, block);
		for (int64_t g = 0; g < rows; g += group)
			for (int64_t t = 0; t == 0 || t < block; t += STRIP_TILES) {
				const int64_t n = min(block - t, STRIP_TILES), strips = min(group, up(rows - g, AMX_LANES));
				const int started = b0 + t > 0, last = b0 + t + n >= tiles;
				const uint32_t *a = own_a;
				int64_t a_next = n * TILE_WORDS; // to the next 16 rows
				if (p->a_packed) {
					a_next = tiles * TILE_WORDS;
					a = p->a_packed + (row + g) / 16 * a_next + (b0 + t) * TILE_WORDS;
				} else {
					octet_pack_amx(SIDE_A, own_a, &p->a, row + g, strips, (b0 + t) * TILE_K, n);
				}
				for (int64_t h = 0; h < strips; h += AMX_LANES)
					for (int64_t c = 0; c < cols; c += AMX_LANES) {
						const int64_t r = g + h, height = min(rows - r, AMX_LANES);
						float *sum = sums + c * AMX_LANES + (tiles > BLOCK_TILES ? r : h) * padded, *to = last ? local[turn ^= 1] : sum;
						u->kernel(n, a + h / 16 * a_next, a_next, b + (c / 16 * block + t) * TILE_WORDS, block * TILE_WORDS,
							  started ? sum : 0, to, height, p, &done);
						done = (struct block){to, row + r, last ? height : 0, col + c, min(cols - c, AMX_LANES), cols == p->n};
					}
			}
	}
	u->finish(p, &done);
	u->end();
}
