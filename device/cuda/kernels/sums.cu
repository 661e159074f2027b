// SPDX-License-Identifier: Apache-2.0

// Sums over many elements, in an order that shapes alone decide.

#include "dev.h"

// column_sum is out[c] = the sum of partial's rows [parts,cols], in their order.
KERNEL(64, column_sum, dst out, src partial, u64 parts, u64 cols) {
	for (u64 c = START(1); c < cols; c += STRIDE(1)) {
		float sum = 0;
		for (u64 p = 0; p < parts; p++) sum += load<float>(partial, p * cols + c);
		store<float>(out, c, sum);
	}
}

// row_sums adds rows of x up: row p of partial [parts,cols] is the sum of the p-th share of
// them. A block has 2048 columns of a share.
KERNEL(256, row_sums, dst partial, src x, u64 rows, u64 cols, u64 parts) {
	const u32 across = (u32)((cols + 2047) / 2048);
	for (u32 at = BLOCK; at < across * parts; at += BLOCKS) {
		const u64 part = at / across, col = (u64)(at % across) * 2048 + THREAD * 8;
		if (col >= cols) continue;
		float sum[8] = {0, 0, 0, 0, 0, 0, 0, 0}, v[8];
		for (u64 row = rows * part / parts; row < rows * (part + 1) / parts; row++) {
			get8(x, row * cols + col, (row + 1) * cols, v);
			UNROLL for (u32 k = 0; k < 8; k++) sum[k] += v[k];
		}
		put8(partial, part * cols + col, (part + 1) * cols, sum);
	}
}

KERNEL(256, add_bias, dst y, src bias, u64 rows, u64 cols) {
	const u64 lanes = (cols + 7) / 8;
	for (u64 at = START(1); at < rows * lanes; at += STRIDE(1)) {
		const u64 row = at / lanes, col = at % lanes * 8, i = row * cols + col, end = (row + 1) * cols;
		float v[8], b[8];
		get8(y, i, end, v);
		get8(bias, col, cols, b);
		UNROLL for (u32 k = 0; k < 8; k++) v[k] += b[k];
		put8(y, i, end, v);
	}
}

// sum_squares is the sum of a chunk's squares, for each chunk of a list, in float64.
KERNEL(256, sum_squares, dst partial, table list) {
	const u64 chunks = chunks_before(list, list.rows());
	for (u64 c = BLOCK; c < chunks; c += BLOCKS) {
		const u32 row = row_of(list, c);
		const src x = tensor_of(list, row, 0);
		const u64 begin = (c - chunks_before(list, row)) * CHUNK, end = min_of(x.n(), begin + CHUNK);
		double sum = 0;
		for (u64 i = begin + THREAD * 8; i < end; i += 256 * 8) {
			float v[8];
			get8(x, i, end, v);
			UNROLL for (u32 k = 0; k < 8; k++) sum += (double)v[k] * v[k];
		}
		sum = block_sum<256>(sum);
		if (THREAD == 0) store<double>(partial, c, sum);
	}
}

// squared_error is the same of y - target, a chunk at a time; y becomes its gradient.
KERNEL(256, squared_error, dst partial, dst y, src target, src scale) {
	const float by = 2 * load<float>(scale, 0);
	for (u64 c = BLOCK; c * CHUNK < y.n(); c += BLOCKS) {
		const u64 begin = c * CHUNK, end = min_of(y.n(), begin + CHUNK);
		double sum = 0;
		for (u64 i = begin + THREAD * 8; i < end; i += 256 * 8) {
			float v[8], t[8];
			get8(y, i, end, v);
			get8(target, i, end, t);
			UNROLL for (u32 k = 0; k < 8; k++) {
				v[k] -= t[k];
				sum += (double)v[k] * v[k];
				v[k] *= by;
			}
			put8(y, i, end, v);
		}
		sum = block_sum<256>(sum);
		if (THREAD == 0) store<double>(partial, c, sum);
	}
}

// total is out[0] = float32(the sum of n numbers in float64), or out[0] += scale[0] times
// it. One block.
KERNEL(1024, total, dst out, src partial, u64 n, src scale) {
	double sum = 0;
	for (u64 i = THREAD; i < n; i += THREADS) sum += load<double>(partial, i);
	sum = block_sum<1024>(sum);
	if (THREAD != 0) return;
	if (scale.none())
		store<float>(out, 0, (float)sum);
	else
		store<float>(out, 0, load<float>(out, 0) + (float)(sum * (double)load<float>(scale, 0)));
}
