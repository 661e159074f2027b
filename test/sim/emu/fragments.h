// SPDX-License-Identifier: Apache-2.0

// The part of emu.h that is tensor cores': what matrix.h has on a GPU. A warp meets, and
// each lane takes its own of what all have brought.

#pragma once

// mma_bf16_16x8x16 sums in float32, in order of k.
DEV void mma_bf16_16x8x16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
	struct fragments {
		u32 r[6];
	};
	const fragments mine = {{a[0], a[1], a[2], a[3], b[0], b[1]}};
	const emu::board &all = emu::meet(&mine, sizeof mine, __builtin_LINE());
	const auto at = [&](u32 lane, u32 reg, u32 half) { return as_float(emu::lane<fragments>(all, lane).r[reg] >> 16 * half << 16); };
	const u32 g = THREAD % 32 / 4, t = THREAD % 4;
	for (u32 i = 0; i < 4; i++) {
		const u32 row = g, high = i / 2, col = 2 * t + i % 2;
		for (u32 k = 0; k < 16; k++)
			d[i] += at(4 * row + k % 8 / 2, high + k / 8 * 2, k % 2) * at(4 * col + k % 8 / 2, 4 + k / 8, k % 2);
	}
}

// Lane 8m+r has brought row r of matrix m.
DEV void ldmatrix(u32 (&r)[4], Shared<lanes16> from, u32 at) {
	const emu::board &all = emu::meet(&from[at], sizeof(lanes16), __builtin_LINE());
	for (u32 m = 0; m < 4; m++) r[m] = emu::lane<lanes16>(all, 8 * m + THREAD % 32 / 4).v[THREAD % 4];
}
DEV void ldmatrix_turned(u32 (&r)[4], Shared<lanes16> from, u32 at) {
	const emu::board &all = emu::meet(&from[at], sizeof(lanes16), __builtin_LINE());
	const u32 g = THREAD % 32 / 4, t = THREAD % 4;
	const auto element = [&](u32 m, u32 row) { return emu::lane<lanes16>(all, 8 * m + row).v[g / 2] >> 16 * (g % 2) & 0xFFFF; };
	for (u32 m = 0; m < 4; m++) r[m] = element(m, 2 * t) | element(m, 2 * t + 1) << 16;
}

DEV void copy_async(Shared<lanes16> to, u32 at, const src &x, u64 i, bool there, int line = __builtin_LINE()) {
	if (there) check(x, i * sizeof(lanes16), sizeof(lanes16), 1, line);
	emu::copy_begin(&to[at], there ? static_cast<const lanes16 *>(x.p) + i : nullptr, sizeof(lanes16), line);
}
DEV void copies_wait() { emu::copies_end(); }
