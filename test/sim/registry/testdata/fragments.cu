// SPDX-License-Identifier: Apache-2.0

// What matrix.h has, a warp at a time, with its registers as they are; and copies that are
// not waited for.

#include "dev.h"

// mma has of each lane a's four registers and b's two, and of d's four what is added to.
KERNEL(32, mma, dst d, src regs) {
	u32 a[4], b[2];
	float sum[4];
	for (u32 i = 0; i < 4; i++) a[i] = load<u32>(regs, THREAD * 6 + i), sum[i] = load<float>(d, THREAD * 4 + i);
	for (u32 i = 0; i < 2; i++) b[i] = load<u32>(regs, THREAD * 6 + 4 + i);
	mma_bf16_16x8x16(sum, a, b);
	for (u32 i = 0; i < 4; i++) store<float>(d, THREAD * 4 + i, sum[i]);
}

// matrices reads the rows that `at` names: a lane's four registers, and then those of the transposes.
KERNEL(32, matrices, dst regs, src rows, src at) {
	SHARED(lanes16, held, 32);
	copy_async(held, THREAD, rows, THREAD, true);
	copies_wait();
	SYNC();
	u32 r[4], turned[4];
	ldmatrix(r, held, load<u32>(at, THREAD));
	ldmatrix_turned(turned, held, load<u32>(at, THREAD));
	for (u32 i = 0; i < 4; i++) store<u32>(regs, THREAD * 8 + i, r[i]), store<u32>(regs, THREAD * 8 + 4 + i, turned[i]);
}

// product is c [16,8] = a [16,16] · b [16,8], all of them rows of eight.
KERNEL(32, product, dst c, src a, src b) {
	SHARED(lanes16, as, 32);
	SHARED(lanes16, bs, 32); // the upper half is zeros
	copy_async(as, THREAD, a, THREAD, true);
	copy_async(bs, THREAD, b, THREAD, THREAD < 16);
	copies_wait();
	SYNC();
	u32 af[4], bf[4];
	ldmatrix(af, as, THREAD % 16 * 2 + THREAD / 16);
	ldmatrix_turned(bf, bs, THREAD);
	float d[4] = {0, 0, 0, 0};
	const u32 low[2] = {bf[0], bf[1]}, high[2] = {bf[2], bf[3]};
	mma_bf16_16x8x16(d, af, low);
	mma_bf16_16x8x16(d, af, high);
	for (u32 i = 0; i < 4; i++) store<float>(c, (THREAD / 4 + i / 2 * 8) * 8 + THREAD % 4 * 2 + i % 2, d[i]);
}

KERNEL(64, reads_a_copy_early, dst y, src x) {
	SHARED(lanes16, held, 16);
	if (THREAD < 16) {
		held[THREAD] = {{0, 0, 0, 0}};
		copy_async(held, THREAD, x, THREAD, true);
		for (u32 i = 0; i < 4; i++) store<float>(y, THREAD * 4 + i, as_float(held[THREAD].v[i]));
	}
	copies_wait();
}

KERNEL(64, reads_a_copy_of_others, dst y, src x) {
	SHARED(lanes16, held, 16);
	if (THREAD < 16) copy_async(held, THREAD, x, THREAD, true);
	if (THREAD < 8) copies_wait();
	SYNC();
	store<float>(y, THREAD, as_float(held[THREAD / 4].v[THREAD % 4]));
	copies_wait();
}

KERNEL(64, leaves_a_copy, dst y, src x) {
	SHARED(lanes16, held, 16);
	if (THREAD < 16) copy_async(held, THREAD, x, THREAD, true);
	store<float>(y, THREAD, 0);
}

KERNEL(64, copies_beyond, dst y, src x) {
	SHARED(lanes16, held, 17);
	if (THREAD < 17) copy_async(held, THREAD, x, THREAD, true);
	copies_wait();
	store<float>(y, THREAD, 0);
}
