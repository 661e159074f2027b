// SPDX-License-Identifier: Apache-2.0

// Matrix products of any type, shape and layout, for what cuBLASLt does not take: c [m,n]
// is a·b, or c + a·b, times the operands' reciprocals. An operand's elements are so far
// apart along its lanes (a's rows, b's columns) and along k; one of the two is 1.

#include "dev.h"

#define SIDE 64 // of a tile of c

// inverse is an operand's reciprocal for a lane.
DEV float inverse(const src &inv, u64 lane, bool each) { return inv.none() ? 1 : load<float>(inv, each ? lane : 0); }

// product is what a block writes: its tile, side by side in shared memory.
struct product {
	dst c;
	src a_inv, b_inv;
	u64 m, n;
	u32 a_each, b_each, add;
};
#define TILE_ROW (SIDE + 1)

DEV void write_tile(const product &p, Shared<float> tile, u64 row0, u64 col0) {
	ROLL for (u32 j = THREAD; j < SIDE * SIDE; j += THREADS) {
		const u64 row = row0 + j / SIDE, col = col0 + j % SIDE, at = row * p.n + col;
		if (row >= p.m || col >= p.n) continue;
		const float v = tile[j / SIDE * TILE_ROW + j % SIDE] * (inverse(p.a_inv, row, p.a_each) * inverse(p.b_inv, col, p.b_each));
		put(p.c, at, p.add ? get(p.c, at) + v : v);
	}
}

// matmul sums in float32, in order of k. A thread has 4 by 4 elements.
#define DEPTH 16
#define ROW (SIDE + 4)

DEV void read_tile(Shared<float> to, const src &x, u64 lane0, u64 k0, u64 lanes, u64 depth, u64 lane_step, u64 k_step) {
	ROLL for (u32 j = THREAD; j < SIDE * DEPTH; j += 256) {
		const u32 l = k_step == 1 ? j / DEPTH : j % SIDE, k = k_step == 1 ? j % DEPTH : j / SIDE;
		const bool in = lane0 + l < lanes && k0 + k < depth;
		to[k * ROW + l] = in ? get_any(x, (lane0 + l) * lane_step + (k0 + k) * k_step) : 0;
	}
}

KERNEL(256, matmul, dst c, src a, src b, src a_inv, src b_inv, u64 m, u64 n, u64 depth, u64 a_step, u64 a_k, u64 b_step, u64 b_k, u32 a_each, u32 b_each, u32 add) {
	SHARED(float, as, DEPTH * ROW);
	SHARED(float, bs, DEPTH * ROW);
	SHARED(float, tile, SIDE * TILE_ROW);
	const product to = {c, a_inv, b_inv, m, n, a_each, b_each, add};
	const u32 down = (u32)((m + SIDE - 1) / SIDE), across = (u32)((n + SIDE - 1) / SIDE);
	const u32 y = THREAD / 16, x = THREAD % 16;
	for (u32 at = BLOCK; at < down * across; at += BLOCKS) {
		const u64 row0 = (u64)(at / across) * SIDE, col0 = (u64)(at % across) * SIDE;
		SYNC(); // the tile before is written
		float acc[4][4];
		UNROLL for (u32 i = 0; i < 4; i++)
			UNROLL for (u32 j = 0; j < 4; j++) acc[i][j] = 0;
		for (u64 k0 = 0; k0 < depth; k0 += DEPTH) {
			SYNC();
			read_tile(as, a, row0, k0, m, depth, a_step, a_k);
			read_tile(bs, b, col0, k0, n, depth, b_step, b_k);
			SYNC();
			UNROLL for (u32 k = 0; k < DEPTH; k++) {
				float av[4], bv[4];
				UNROLL for (u32 i = 0; i < 4; i++) av[i] = as[k * ROW + y * 4 + i], bv[i] = bs[k * ROW + x * 4 + i];
				UNROLL for (u32 i = 0; i < 4; i++)
					UNROLL for (u32 j = 0; j < 4; j++) acc[i][j] += av[i] * bv[j];
			}
		}
		UNROLL for (u32 i = 0; i < 4; i++)
			UNROLL for (u32 j = 0; j < 4; j++) tile[(y * 4 + i) * TILE_ROW + x * 4 + j] = acc[i][j];
		SYNC();
		write_tile(to, tile, row0, col0);
	}
}

// matmul_narrow is of bfloat16 and float8, which are exact in bfloat16, by mma. Four warps
// have 32 by 32 elements each; tiles lie in shared memory with k in pairs.
#define PAIRS 16 // of k
#define PITCH (PAIRS + 4)

DEV void read_pairs(Shared<u32> to, const src &x, u64 lane0, u64 k0, u64 lanes, u64 depth, u64 lane_step, u64 k_step) {
	ROLL for (u32 j = THREAD; j < SIDE * PAIRS; j += 128) {
		const u32 l = k_step == 1 ? j / PAIRS : j % SIDE, k = (k_step == 1 ? j % PAIRS : j / SIDE) * 2;
		float v[2] = {0, 0};
		UNROLL for (u32 e = 0; e < 2; e++)
			if (lane0 + l < lanes && k0 + k + e < depth) v[e] = get_any(x, (lane0 + l) * lane_step + (k0 + k + e) * k_step);
		to[l * PITCH + k / 2] = pack_bf16(v[0], v[1]);
	}
}

KERNEL(128, matmul_narrow, dst c, src a, src b, src a_inv, src b_inv, u64 m, u64 n, u64 depth, u64 a_step, u64 a_k, u64 b_step, u64 b_k, u32 a_each, u32 b_each, u32 add) {
	SHARED(u32, as, SIDE * PITCH);
	SHARED(u32, bs, SIDE * PITCH);
	SHARED(float, tile, SIDE * TILE_ROW);
	const product to = {c, a_inv, b_inv, m, n, a_each, b_each, add};
	const u32 down = (u32)((m + SIDE - 1) / SIDE), across = (u32)((n + SIDE - 1) / SIDE);
	const u32 warp = THREAD / WARP, g = THREAD % WARP / 4, t = THREAD % 4, y = warp / 2 * 32, x = warp % 2 * 32;
	for (u32 at = BLOCK; at < down * across; at += BLOCKS) {
		const u64 row0 = (u64)(at / across) * SIDE, col0 = (u64)(at % across) * SIDE;
		SYNC(); // the tile before is written
		float acc[2][4][4];
		UNROLL for (u32 i = 0; i < 2; i++)
			UNROLL for (u32 j = 0; j < 4; j++)
				UNROLL for (u32 e = 0; e < 4; e++) acc[i][j][e] = 0;
		for (u64 k0 = 0; k0 < depth; k0 += 2 * PAIRS) {
			SYNC();
			read_pairs(as, a, row0, k0, m, depth, a_step, a_k);
			read_pairs(bs, b, col0, k0, n, depth, b_step, b_k);
			SYNC();
			UNROLL for (u32 k = 0; k < PAIRS; k += 8) {
				u32 af[2][4], bf[4][2];
				UNROLL for (u32 i = 0; i < 2; i++)
					UNROLL for (u32 e = 0; e < 4; e++) af[i][e] = as[(y + i * 16 + g + e % 2 * 8) * PITCH + k + t + e / 2 * 4];
				UNROLL for (u32 j = 0; j < 4; j++)
					UNROLL for (u32 e = 0; e < 2; e++) bf[j][e] = bs[(x + j * 8 + g) * PITCH + k + t + e * 4];
				UNROLL for (u32 i = 0; i < 2; i++)
					UNROLL for (u32 j = 0; j < 4; j++) mma_bf16_16x8x16(acc[i][j], af[i], bf[j]);
			}
		}
		UNROLL for (u32 i = 0; i < 2; i++)
			UNROLL for (u32 j = 0; j < 4; j++)
				UNROLL for (u32 e = 0; e < 4; e++) tile[(y + i * 16 + g + e / 2 * 8) * TILE_ROW + x + j * 8 + t * 2 + e % 2] = acc[i][j][e];
		SYNC();
		write_tile(to, tile, row0, col0);
	}
}

// scale_product is what a product without scales lacks, of those of its rows and columns.
KERNEL(256, scale_product, dst c, src x, src a_inv, src b_inv, u64 n, u32 a_each, u32 b_each, u32 add) {
	for (u64 i = START(8); i < c.n(); i += STRIDE(8)) {
		float v[8], old[8];
		u64 row = i / n, col = i % n;
		get8(x, i, c.n(), v);
		if (add) get8(c, i, c.n(), old);
		UNROLL for (u32 k = 0; k < 8; k++) {
			if (i + k < c.n()) v[k] *= inverse(a_inv, row, a_each) * inverse(b_inv, col, b_each);
			if (add) v[k] += old[k];
			if (++col == n) col = 0, row++;
		}
		put8(c, i, c.n(), v);
	}
}
