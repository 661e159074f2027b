// SPDX-License-Identifier: Apache-2.0

// Norms of rows: a block takes a row at a time, a thread every so many eights of it.

#include "rows.h"
#include "written.h"

KERNEL(256, rmsnorm, dst y, dst sum, dst rstd, src x, src residual, src w, u64 rows, u64 cols, float eps, dst amax, u32 hold) {
	DYNAMIC(float, held);
	const u32 eights = eights_of(cols);
	u32 most = 0;
	for (u64 row = BLOCK; row < rows; row += BLOCKS) {
		const u64 begin = row * cols, end = begin + cols;
		float v[8], r[8], squares = 0;
		for (u32 j = THREAD; j < eights; j += 256) {
			const u64 i = begin + j * 8;
			get8(x, i, end, v);
			if (!residual.none()) {
				get8(residual, i, end, r);
				UNROLL for (u32 e = 0; e < 8; e++) v[e] = rounded(sum.type(), v[e] + r[e]);
				put8(sum, i, end, v);
			}
			UNROLL for (u32 e = 0; e < 8; e++) squares += v[e] * v[e];
			if (hold) hold8(held, eights, j, v);
		}
		const float by = 1 / sqrtf(block_sum<256>(squares) / (float)cols + eps);
		if (THREAD == 0) store<float>(rstd, row, by);
		for (u32 j = THREAD; j < eights; j += 256) {
			const u64 i = begin + j * 8;
			if (hold)
				held8(held, eights, j, v);
			else
				get8(residual.none() ? x : (src)sum, i, end, v);
			get8(w, j * 8, cols, r);
			UNROLL for (u32 e = 0; e < 8; e++) v[e] = v[e] * by * r[e];
			put8(y, i, end, v);
			most = written8(most, amax, y, end - i, v);
		}
	}
	raise_amax<256>(amax, most);
}

KERNEL(256, layernorm, dst y, dst mean, dst rstd, src x, src w, src b, u64 rows, u64 cols, float eps, u32 hold) {
	DYNAMIC(float, held);
	const u32 eights = eights_of(cols);
	for (u64 row = BLOCK; row < rows; row += BLOCKS) {
		const u64 begin = row * cols, end = begin + cols;
		float v[8], g[8], a[8], total = 0, squares = 0;
		for (u32 j = THREAD; j < eights; j += 256) {
			get8(x, begin + j * 8, end, v);
			UNROLL for (u32 e = 0; e < 8; e++) total += v[e];
			if (hold) hold8(held, eights, j, v);
		}
		const float middle = block_sum<256>(total) / (float)cols;
		for (u32 j = THREAD; j < eights; j += 256) {
			if (hold)
				held8(held, eights, j, v);
			else
				get8(x, begin + j * 8, end, v);
			UNROLL for (u32 e = 0; e < 8; e++) {
				const float d = j * 8 + e < cols ? v[e] - middle : 0;
				squares += d * d;
			}
		}
		const float by = 1 / sqrtf(block_sum<256>(squares) / (float)cols + eps);
		if (THREAD == 0) {
			store<float>(mean, row, middle);
			store<float>(rstd, row, by);
		}
		for (u32 j = THREAD; j < eights; j += 256) {
			if (hold)
				held8(held, eights, j, v);
			else
				get8(x, begin + j * 8, end, v);
			get8(w, j * 8, cols, g);
			get8(b, j * 8, cols, a);
			UNROLL for (u32 e = 0; e < 8; e++) v[e] = (v[e] - middle) * by * g[e] + a[e];
			put8(y, begin + j * 8, end, v);
		}
	}
}

// norm_grad is the gradient of a norm whose normalized value is n = (x - mean)·rstd, with
// g = dy·w: dx = rstd·(g - mean(g) - n·mean(g·n)) + add, the mean of g without CENTERED
// being 0. A block has rows of its own, one after another, and a thread the same columns of
// all, so that it sums their dy·n alone: in shared memory behind dy and n, where all three
// fit, or in its row of partial [blocks,cols].
template <bool CENTERED>
DEV void norm_grad(Shared<float> held, const dst &dx, const dst &partial, const src &dy, const src &x, const src &mean, const src &rstd,
	const src &w, const src &add, u64 rows, u64 cols, const dst &amax, bool hold) {
	u32 most = 0;
	const u32 T = 512, eights = eights_of(cols);
	const u64 base = BLOCK * cols, first = rows * BLOCK / BLOCKS, last = rows * (BLOCK + 1) / BLOCKS;
	const auto ns = held + (hold ? 8 * eights : 0), sums = held + (hold ? 16 * eights : 0);
	for (u64 row = first; row < last; row++) {
		const u64 begin = row * cols, end = begin + cols;
		const float by = load<float>(rstd, row), middle = CENTERED ? load<float>(mean, row) : 0;
		float d[8], n[8], g[8], p[8], total = 0, dot = 0;
		for (u32 j = THREAD; j < eights; j += T) {
			get8(dy, begin + j * 8, end, d);
			get8(x, begin + j * 8, end, n);
			get8(w, j * 8, cols, g);
			UNROLL for (u32 e = 0; e < 8; e++) {
				n[e] = (n[e] - middle) * by;
				total += d[e] * g[e];
				dot += d[e] * g[e] * n[e];
			}
			if (hold) {
				hold8(held, eights, j, d);
				hold8(ns, eights, j, n);
			}
		}
		const float slope = block_sum<T>(dot) / (float)cols, center = CENTERED ? block_sum<T>(total) / (float)cols : 0;
		for (u32 j = THREAD; j < eights; j += T) {
			const u64 col = j * 8, i = begin + col;
			if (hold) {
				held8(held, eights, j, d);
				held8(ns, eights, j, n);
			} else {
				get8(dy, i, end, d);
				get8(x, i, end, n);
				UNROLL for (u32 e = 0; e < 8; e++) n[e] = (n[e] - middle) * by;
			}
			UNROLL for (u32 e = 0; e < 8; e++) p[e] = 0;
			if (row > first) {
				if (hold)
					held8(sums, eights, j, p);
				else
					get8(partial, base + col, base + cols, p);
			}
			UNROLL for (u32 e = 0; e < 8; e++) p[e] += d[e] * n[e];
			if (hold && row + 1 < last)
				hold8(sums, eights, j, p);
			else
				put8(partial, base + col, base + cols, p);
			get8(w, col, cols, g);
			UNROLL for (u32 e = 0; e < 8; e++) d[e] = by * (d[e] * g[e] - center - n[e] * slope);
			if (!add.none()) {
				get8(add, i, end, g);
				UNROLL for (u32 e = 0; e < 8; e++) d[e] += g[e];
			}
			put8(dx, i, end, d);
			most = written8(most, amax, dx, end - i, d);
		}
	}
	raise_amax<T>(amax, most);
}

KERNEL(512, rmsnorm_grad, dst dx, dst partial, src dy, src x, src rstd, src w, src add, u64 rows, u64 cols, dst amax, u32 hold) {
	DYNAMIC(float, held);
	norm_grad<false>(held, dx, partial, dy, x, src{nullptr, 0}, rstd, w, add, rows, cols, amax, hold);
}

KERNEL(512, layernorm_grad, dst dx, dst partial, src dy, src x, src mean, src rstd, src w, src add, u64 rows, u64 cols, u32 hold) {
	DYNAMIC(float, held);
	norm_grad<true>(held, dx, partial, dy, x, mean, rstd, w, add, rows, cols, dst{nullptr, 0}, hold);
}
