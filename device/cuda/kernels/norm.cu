// SPDX-License-Identifier: Apache-2.0

// Norms of rows. A block takes a row at a time and keeps what it has read of it in
// registers, up to KEPT·8 elements a thread; what is beyond is read again.

#include "dev.h"

// rounded is v as a type holds it.
DEV float rounded(u32 t, float v) { return t == BFLOAT16 ? from_bf16(to_bf16(v)) : v; }

// residual8 is x + residual, rounded to sum, which receives it; without a residual it is x.
DEV void residual8(const dst &sum, const src &x, const src &residual, u64 i, u64 end, float (&v)[8]) {
	get8(x, i, end, v);
	if (residual.none()) return;
	float r[8];
	get8(residual, i, end, r);
	UNROLL for (u32 k = 0; k < 8; k++) v[k] = rounded(sum.type(), v[k] + r[k]);
	put8(sum, i, end, v);
}

DEV void norm8(const dst &y, const src &w, u64 i, u64 begin, u64 end, const float (&v)[8], float by) {
	float g[8];
	get8(w, i - begin, end - begin, g);
	UNROLL for (u32 k = 0; k < 8; k++) g[k] = v[k] * by * g[k];
	put8(y, i, end, g);
}

template <u32 KEPT>
DEV void rms(const dst &y, const dst &sum, const dst &rstd, const src &x, const src &residual, const src &w, u64 rows, u64 cols, float eps) {
	for (u64 row = BLOCK; row < rows; row += BLOCKS) {
		const u64 begin = row * cols, end = begin + cols;
		float v[KEPT][8], u[8], squares = 0;
		UNROLL for (u32 k = 0; k < KEPT; k++) {
			const u64 i = begin + (k * 256 + THREAD) * 8;
			if (i >= end) continue;
			residual8(sum, x, residual, i, end, v[k]);
			UNROLL for (u32 e = 0; e < 8; e++) squares += v[k][e] * v[k][e];
		}
		ROLL for (u64 i = begin + (KEPT * 256 + THREAD) * 8; i < end; i += 256 * 8) {
			residual8(sum, x, residual, i, end, u);
			UNROLL for (u32 e = 0; e < 8; e++) squares += u[e] * u[e];
		}
		const float by = 1 / sqrtf(block_sum<256>(squares) / (float)cols + eps);
		if (THREAD == 0) store<float>(rstd, row, by);
		UNROLL for (u32 k = 0; k < KEPT; k++) {
			const u64 i = begin + (k * 256 + THREAD) * 8;
			if (i < end) norm8(y, w, i, begin, end, v[k], by);
		}
		ROLL for (u64 i = begin + (KEPT * 256 + THREAD) * 8; i < end; i += 256 * 8) {
			if (residual.none())
				get8(x, i, end, u);
			else
				get8(sum, i, end, u);
			norm8(y, w, i, begin, end, u, by);
		}
	}
}

KERNEL(256, rmsnorm, dst y, dst sum, dst rstd, src x, src residual, src w, u64 rows, u64 cols, float eps) {
	rms<2>(y, sum, rstd, x, residual, w, rows, cols, eps);
}
KERNEL(256, rmsnorm_long, dst y, dst sum, dst rstd, src x, src residual, src w, u64 rows, u64 cols, float eps) {
	rms<8>(y, sum, rstd, x, residual, w, rows, cols, eps);
}

template <u32 KEPT>
DEV void centered(const dst &y, const dst &mean, const dst &rstd, const src &x, const src &w, const src &b, u64 rows, u64 cols, float eps) {
	for (u64 row = BLOCK; row < rows; row += BLOCKS) {
		const u64 begin = row * cols, end = begin + cols;
		float v[KEPT][8], u[8], total = 0, squares = 0;
		UNROLL for (u32 k = 0; k < KEPT; k++) {
			const u64 i = begin + (k * 256 + THREAD) * 8;
			if (i >= end) continue;
			get8(x, i, end, v[k]);
			UNROLL for (u32 e = 0; e < 8; e++) total += v[k][e];
		}
		ROLL for (u64 i = begin + (KEPT * 256 + THREAD) * 8; i < end; i += 256 * 8) {
			get8(x, i, end, u);
			UNROLL for (u32 e = 0; e < 8; e++) total += u[e];
		}
		const float middle = block_sum<256>(total) / (float)cols;
		const auto add = [&](const float(&e8)[8], u64 i) {
			UNROLL for (u32 e = 0; e < 8; e++) {
				const float d = e8[e] - middle;
				if (i + e < end) squares += d * d;
			}
		};
		UNROLL for (u32 k = 0; k < KEPT; k++) {
			const u64 i = begin + (k * 256 + THREAD) * 8;
			if (i < end) add(v[k], i);
		}
		ROLL for (u64 i = begin + (KEPT * 256 + THREAD) * 8; i < end; i += 256 * 8) {
			get8(x, i, end, u);
			add(u, i);
		}
		const float by = 1 / sqrtf(block_sum<256>(squares) / (float)cols + eps);
		if (THREAD == 0) {
			store<float>(mean, row, middle);
			store<float>(rstd, row, by);
		}
		const auto write = [&](const float(&e8)[8], u64 i) {
			float g[8], a[8];
			get8(w, i - begin, cols, g);
			get8(b, i - begin, cols, a);
			UNROLL for (u32 e = 0; e < 8; e++) g[e] = (e8[e] - middle) * by * g[e] + a[e];
			put8(y, i, end, g);
		};
		UNROLL for (u32 k = 0; k < KEPT; k++) {
			const u64 i = begin + (k * 256 + THREAD) * 8;
			if (i < end) write(v[k], i);
		}
		ROLL for (u64 i = begin + (KEPT * 256 + THREAD) * 8; i < end; i += 256 * 8) {
			get8(x, i, end, u);
			write(u, i);
		}
	}
}

KERNEL(256, layernorm, dst y, dst mean, dst rstd, src x, src w, src b, u64 rows, u64 cols, float eps) {
	centered<2>(y, mean, rstd, x, w, b, rows, cols, eps);
}
KERNEL(256, layernorm_long, dst y, dst mean, dst rstd, src x, src w, src b, u64 rows, u64 cols, float eps) {
	centered<8>(y, mean, rstd, x, w, b, rows, cols, eps);
}

// The gradients' blocks have 512 threads and rows of their own, one after another, and
// keep half as much of each, of two tensors. A thread has the same columns of every row, so
// that it sums their part of the weight's gradient alone: in shared memory, or straight
// in partial [blocks,cols] where there are too many for that.
#define GRAD_THREADS 512
#define GRAD_KEPT 2

struct weight_sums {
	dst partial;
	u64 base; // of the block's row
	bool shared;
};

DEV void sum8(const weight_sums &s, Shared<float> held, u64 col, u64 cols, bool first, const float (&v)[8]) {
	UNROLL for (u32 e = 0; e < 8; e++) {
		if (col + e >= cols) break;
		if (s.shared)
			held[col + e] = first ? v[e] : held[col + e] + v[e];
		else
			store<float>(s.partial, s.base + col + e, first ? v[e] : load<float>(s.partial, s.base + col + e) + v[e]);
	}
}

// norm_grad is the gradient of a norm whose normalized value is n = (x - mean)·rstd, with
// g = dy·w: dx = rstd·(g - mean(g) - n·mean(g·n)) + add, the mean of g without CENTERED
// being 0, and partial the rows' sums of dy·n.
template <bool CENTERED>
DEV void norm_grad(Shared<float> held, const dst &dx, const dst &partial, const src &dy, const src &x, const src &mean, const src &rstd,
	const src &w, const src &add, u64 rows, u64 cols, bool shared) {
	const weight_sums sums = {partial, BLOCK * cols, shared};
	// Every block has a row: first and last are fair shares.
	const u64 first = rows * BLOCK / BLOCKS, last = rows * (BLOCK + 1) / BLOCKS;
	for (u64 row = first; row < last; row++) {
		const u64 begin = row * cols, end = begin + cols;
		const float by = load<float>(rstd, row), middle = CENTERED ? load<float>(mean, row) : 0;
		float d[GRAD_KEPT][8], n[GRAD_KEPT][8], e1[8], e2[8], g[8], total = 0, dot = 0;
		const auto read = [&](u64 i, float(&dv)[8], float(&nv)[8]) {
			get8(dy, i, end, dv);
			get8(x, i, end, nv);
			get8(w, i - begin, cols, g);
			UNROLL for (u32 e = 0; e < 8; e++) {
				nv[e] = (nv[e] - middle) * by;
				const float gw = dv[e] * g[e];
				total += gw;
				dot += gw * nv[e];
			}
		};
		UNROLL for (u32 k = 0; k < GRAD_KEPT; k++) {
			const u64 i = begin + (k * GRAD_THREADS + THREAD) * 8;
			if (i < end) read(i, d[k], n[k]);
		}
		ROLL for (u64 i = begin + (GRAD_KEPT * GRAD_THREADS + THREAD) * 8; i < end; i += GRAD_THREADS * 8) read(i, e1, e2);
		const float slope = block_sum<GRAD_THREADS>(dot) / (float)cols;
		const float center = CENTERED ? block_sum<GRAD_THREADS>(total) / (float)cols : 0;
		const auto write = [&](u64 i, const float(&dv)[8], const float(&nv)[8]) {
			float r[8] = {0, 0, 0, 0, 0, 0, 0, 0}, p[8];
			get8(w, i - begin, cols, g);
			if (!add.none()) get8(add, i, end, r);
			UNROLL for (u32 e = 0; e < 8; e++) {
				p[e] = dv[e] * nv[e];
				r[e] += by * (dv[e] * g[e] - center - nv[e] * slope);
			}
			sum8(sums, held, i - begin, cols, row == first, p);
			put8(dx, i, end, r);
		};
		UNROLL for (u32 k = 0; k < GRAD_KEPT; k++) {
			const u64 i = begin + (k * GRAD_THREADS + THREAD) * 8;
			if (i < end) write(i, d[k], n[k]);
		}
		ROLL for (u64 i = begin + (GRAD_KEPT * GRAD_THREADS + THREAD) * 8; i < end; i += GRAD_THREADS * 8) {
			read(i, e1, e2); // the sums are taken already
			write(i, e1, e2);
		}
	}
	if (!shared) return;
	for (u64 col = THREAD * 8; col < cols; col += GRAD_THREADS * 8) {
		float v[8];
		UNROLL for (u32 e = 0; e < 8; e++) v[e] = col + e < cols ? held[col + e] : 0;
		put8(partial, sums.base + col, sums.base + cols, v);
	}
}

KERNEL(GRAD_THREADS, rmsnorm_grad, dst dx, dst partial, src dy, src x, src rstd, src w, src add, u64 rows, u64 cols, u32 shared) {
	DYNAMIC(float, held);
	norm_grad<false>(held, dx, partial, dy, x, src{nullptr, 0}, rstd, w, add, rows, cols, shared);
}

KERNEL(GRAD_THREADS, layernorm_grad, dst dx, dst partial, src dy, src x, src mean, src rstd, src w, src add, u64 rows, u64 cols, u32 shared) {
	DYNAMIC(float, held);
	norm_grad<true>(held, dx, partial, dy, x, mean, rstd, w, add, rows, cols, shared);
}
