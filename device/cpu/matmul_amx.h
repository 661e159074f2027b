// SPDX-License-Identifier: Apache-2.0

// MatMul on tiles of AMX: what its loops, its packing and its kernel share. A
// tile is 16 rows of 16 words; a word is two bf16 that follow one another along
// k. Tiles of op(a) have a lane a row and a step of k a word, those of op(b) a
// step a row and a lane a word, so that one instruction multiplies 16 lanes by
// 16 over 32 elements of k.
#ifndef OCTET_MATMUL_AMX_H
#define OCTET_MATMUL_AMX_H

#include "matmul.h"

enum {
	TILE_K = 32,       // elements of k in a tile
	TILE_WORDS = 256,  // a tile in memory
	BLOCK_TILES = 64,  // of op(b) packed along k
	AMX_LANES = 32,    // rows, and columns, of a kernel's block
};

// Packs lanes lane0 to lane0+lanes of an operand, k0 to k0+TILE_K·tiles, 16 lanes
// after another, each as so many tiles; lanes is a multiple of 32. What lies
// outside the matrix is zero.
void octet_pack_amx(enum side side, uint32_t *to, const struct matmul_source *s, int64_t lane0, int64_t lanes, int64_t k0, int64_t tiles);

// The sums of rows x cols of dst, of which there may be none. whole: the tile of dst has all columns.
struct block {
	const float *sums;
	int64_t row, rows, col, cols;
	int whole;
};

// What multiplies tiles: the unit, or its emulation.
struct amx_unit {
	void (*begin)(void), (*end)(void); // around kernels, on their thread
	// to[32][32] = from, or 0, + the products of 32 rows of op(a) and 32 columns of
	// op(b), each in two halves, a_next and b_next words apart. Where height is 16 or
	// less, rows from 16 on need not be right. from may be to. The tiles leave the other
	// units idle, which finish another block meanwhile.
	void (*kernel)(int64_t tiles, const uint32_t *a, int64_t a_next, const uint32_t *b, int64_t b_next, const float *from, float *to, int64_t height,
		       const struct matmul *, const struct block *);
	// Writes a block to dst, as matmul_unit's does.
	void (*finish)(const struct matmul *, const struct block *);
};

const struct amx_unit *octet_amx(void);
const struct amx_unit *octet_amx_emulated(void);

// Packs lanes lane0 to lane0+lanes of op(a), or of op(b) the columns of a tile of dst, over all of k, to where they
// belong in a_packed or b_packed. lane0 is a multiple of 32.
void octet_pack_amx_all(enum side side, uint32_t *packed, const struct matmul_source *, int64_t lane0, int64_t lanes);

// Computes rows x cols of dst from (row, col) on, over the whole of k.
void octet_matmul_amx(const struct amx_unit *, const struct matmul *, int64_t row, int64_t rows, int64_t col, int64_t cols, void *workspace);

#endif
