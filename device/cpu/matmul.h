// SPDX-License-Identifier: Apache-2.0

// The C half of MatMul. matmul.c has the loops, which are the same for every
// instruction set; a matmul_unit is what differs.
#ifndef OCTET_MATMUL_H
#define OCTET_MATMUL_H

#include "types.h"

// A matrix seen along its panel axis ("lanes": rows of op(a), columns of
// op(b)) and along k. One of the two is contiguous; ld elements separate
// neighbours on the other. inv is the reciprocal of its scale, one for all or,
// with invs, one a lane; NULL is 1.
struct matmul_source {
	const void *data;
	const float *inv;
	int64_t lanes, k, ld;
	int32_t type;
	int32_t k_contiguous;
	int32_t invs;
};

// inv_of is the reciprocal of a lane's scale.
static inline float inv_of(const struct matmul_source *s, int64_t lane)
{
	return !s->inv ? 1 : s->inv[s->invs ? lane : 0];
}

// at is element (row, column) of an operand as it lies in memory.
static inline const void *at(int type, const struct matmul_source *s, int64_t row, int64_t column)
{
	return (const char *)s->data + (row * s->ld + column) * size_of(type);
}

// One product, the same for all its tiles.
struct matmul {
	struct matmul_source a, b;
	void *dst; // [m,n] row-major
	int64_t m, n;
	int32_t dst_type;
	int32_t accumulate;
	const uint32_t *a_packed, *b_packed; // AMX's tiles of all of op(a), of all of op(b); or NULL
};

enum { STRIP = 16 }; // rows of op(a), or words of op(b), side by side in a strip

// Where the words of a packed strip of op(a) are.
struct strides {
	int64_t row, step;
};

// Which of the two operands is packed.
enum side { SIDE_A, SIDE_B };

// How one arithmetic unit multiplies. Operands are packed as strips of 32-bit
// words. A word holds k_per_word elements of one row of op(a) or column of
// op(b), or one element of b_lanes/STRIP columns. A strip of op(b) has STRIP
// words for each step along k; a strip of op(a) has them in rows, TILE_STEPS
// apart, where k is contiguous, and is like b's where it is not.
struct matmul_unit {
	int k_per_word;
	int a_lanes; // rows of op(a) used of a strip
	int b_lanes; // columns of op(b) in a strip
	int mr, nr;  // rows and columns of a kernel's block; mr divides a_lanes
	// Packs one strip of op(a), or n of op(b) that follow one another: lanes from
	// lane0 on, steps words from element k0 on. What lies outside the matrix is zero.
	void (*pack_a)(uint32_t *strip, const struct matmul_source *, int64_t lane0, int64_t k0, int64_t steps);
	void (*pack_b)(uint32_t *strips, const struct matmul_source *, int64_t lane0, int64_t n, int64_t k0, int64_t steps);
	// block[mr][nr] = (add ? block : 0) + the products of mr rows of strip a
	// and nr/b_lanes strips of b, which follow one another. Of the rows the first
	// so many are wanted.
	void (*kernel)(int64_t rows, int64_t steps, const uint32_t *a, struct strides, const uint32_t *b, float *block, int add);
	// Writes rows x cols of a block to dst: times bias and the reciprocals of the
	// operands' scales, accumulated, rounded once.
	void (*finish)(const struct matmul *, int64_t row, int64_t rows, int64_t col, int64_t cols,
		       const float *block, float bias);
	// What undoes the factor that the packing of a type has put in.
	float (*bias)(int32_t type);
};

// no_bias is the bias of a unit whose packing keeps every value.
static inline float no_bias(int32_t type) { return 1; }

const struct matmul_unit *octet_matmul_unit_avx2(void);
const struct matmul_unit *octet_matmul_unit_avx512(void);
const struct matmul_unit *octet_matmul_unit_bf16dot(void);
const struct matmul_unit *octet_matmul_unit_fp16(void);
// fp16 on processors without it, to test the packing and the arithmetic.
const struct matmul_unit *octet_matmul_unit_fp16_emulated(void);

// The largest tile, and the workspace a tile needs.
enum { TILE_ROWS = 2048, TILE_COLS = 512, TILE_STEPS = 512 };
enum { WORKSPACE = 4 * (STRIP * TILE_STEPS + TILE_COLS * TILE_STEPS + (TILE_ROWS + STRIP) * TILE_COLS) };

// Computes rows x cols of dst from (row, col) on, over the whole of k.
void octet_matmul_tile(const struct matmul_unit *, const struct matmul *, int64_t row, int64_t rows, int64_t col,
		       int64_t cols, void *workspace);

#endif
