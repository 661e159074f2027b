// SPDX-License-Identifier: Apache-2.0

// Cross-entropy. A block takes a row of logits at a time.

#include "dev.h"

#define IGNORED -100
#define ROW_THREADS 512

// row_stats is the maximum of a row and the sum of exp(logit - maximum), in one read: each
// thread's sum follows its maximum. A row of -infinities has sum 0.
DEV void row_stats(const src &logits, u64 begin, u64 end, float &most, float &sum) {
	float m = -infinity(), s = 0;
	for (u64 i = begin + THREAD * 8; i < end; i += ROW_THREADS * 8) {
		float v[8], top = m;
		get8(logits, i, end, v);
		UNROLL for (u32 k = 0; k < 8; k++)
			if (i + k < end && v[k] > top) top = v[k];
		const float from = top == -infinity() ? 0 : top;
		if (top > m) s *= expf(m - from);
		m = top;
		UNROLL for (u32 k = 0; k < 8; k++)
			if (i + k < end) s += expf(v[k] - from);
	}
	most = block_max<ROW_THREADS>(m);
	if (m != -infinity()) s *= expf(m - most);
	sum = block_sum<ROW_THREADS>(s);
}

// row_grad overwrites a row with scale·(softmax - onehot).
DEV void row_grad(const dst &logits, u64 begin, u64 end, float most, float sum, i64 target, float scale) {
	for (u64 i = begin + THREAD * 8; i < end; i += ROW_THREADS * 8) {
		float v[8];
		get8(logits, i, end, v);
		UNROLL for (u32 k = 0; k < 8; k++) {
			float p = expf(v[k] - most) / sum;
			if ((i64)(i + k - begin) == target) p -= 1;
			v[k] = scale * p;
		}
		put8(logits, i, end, v);
	}
}

DEV void row_of_one(const dst &logits, u64 begin, u64 end, float value) {
	float v[8];
	UNROLL for (u32 k = 0; k < 8; k++) v[k] = value;
	for (u64 i = begin + THREAD * 8; i < end; i += ROW_THREADS * 8) put8(logits, i, end, v);
}

// loss_of is a row's, in float64.
DEV double loss_of(float most, float sum, float target) { return log((double)sum) - ((double)target - (double)most); }

// cross_entropy is both phases of a whole vocabulary. losses, float64 [rows], are the rows'.
KERNEL(ROW_THREADS, cross_entropy, dst losses, dst logits, src targets, src scale, u64 rows, u64 vocab) {
	const float by = load<float>(scale, 0);
	for (u64 row = BLOCK; row < rows; row += BLOCKS) {
		const u64 begin = row * vocab, end = begin + vocab;
		const i32 target = load<i32>(targets, row);
		const bool bad = target < 0 || (u64)target >= vocab;
		double loss = target == IGNORED ? 0 : (double)nan32();
		if (bad) {
			row_of_one(logits, begin, end, (float)loss);
		} else {
			const float at = get(logits, begin + target);
			float most, sum;
			row_stats(logits, begin, end, most, sum);
			loss = loss_of(most, sum, at);
			row_grad(logits, begin, end, most, sum, target, by);
		}
		if (THREAD == 0) store<double>(losses, row, loss);
	}
}

KERNEL(ROW_THREADS, cross_entropy_stats, dst most, dst sum, dst at, src logits, src targets, u64 rows, u64 width, i64 offset, i64 vocab) {
	for (u64 row = BLOCK; row < rows; row += BLOCKS) {
		const u64 begin = row * width, end = begin + width;
		const i32 target = load<i32>(targets, row);
		float m = 0, s = 0, t = 0;
		if (target != IGNORED) {
			row_stats(logits, begin, end, m, s);
			const i64 here = target - offset;
			if (target < 0 || target >= vocab)
				s = nan32();
			else if (0 <= here && here < (i64)width)
				t = get(logits, begin + here);
		}
		if (THREAD == 0) {
			store<float>(most, row, m);
			store<float>(sum, row, s);
			store<float>(at, row, t);
		}
	}
}

KERNEL(256, rescale_sum, dst sum, src from, src to) {
	for (u64 i = START(1); i < sum.n(); i += STRIDE(1)) store<float>(sum, i, load<float>(sum, i) * expf(load<float>(from, i) - load<float>(to, i)));
}

KERNEL(ROW_THREADS, cross_entropy_grad, dst losses, dst logits, src most, src sum, src at, src targets, u64 rows, u64 width, i64 offset, src scale) {
	const float by = load<float>(scale, 0);
	for (u64 row = BLOCK; row < rows; row += BLOCKS) {
		const u64 begin = row * width, end = begin + width;
		const i32 target = load<i32>(targets, row);
		double loss = 0;
		if (target == IGNORED) {
			row_of_one(logits, begin, end, 0);
		} else {
			const float m = load<float>(most, row), s = load<float>(sum, row);
			loss = loss_of(m, s, load<float>(at, row));
			row_grad(logits, begin, end, m, s, target - offset, by);
		}
		if (THREAD == 0) store<double>(losses, row, loss);
	}
}
