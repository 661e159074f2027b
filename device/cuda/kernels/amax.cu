// SPDX-License-Identifier: Apache-2.0

// Amaxes, as bits of non-negative numbers, and the scales that are made of them.

#include "cast.h"

// amax raises out[i] to that of tensor i of a list.
KERNEL(256, amax, dst out, table list) {
	const u64 chunks = chunks_before(list, list.rows());
	for (u64 c = BLOCK; c < chunks; c += BLOCKS) {
		const u32 row = row_of(list, c);
		const src x = tensor_of(list, row, 0);
		const u64 begin = (c - chunks_before(list, row)) * CHUNK, end = min_of(x.n(), begin + CHUNK);
		u32 most = 0;
		for (u64 i = begin + THREAD * 8; i < end; i += 256 * 8) {
			float v[8];
			get8(x, i, end, v);
			most = magnitude8(most, v);
		}
		most = block_max<256>(most);
		if (THREAD == 0) raise(out, row, most);
	}
}

// amax_whole raises out[0] to that of x·fold.
KERNEL(256, amax_whole, dst out, src x, src fold, u64 cols, u32 flags) {
	const factors f = factors_of(fold, src{nullptr, 0}, flags);
	u32 most = 0;
	for (u64 i = START(8); i < x.n(); i += STRIDE(8)) {
		float v[8];
		const u64 row = f.flags & BY_AXIS ? i / cols : 0;
		get8(x, i, x.n(), v);
		fold8(f, row, i - row * cols, cols, x.n() - i, v);
		most = magnitude8(most, v);
	}
	most = block_max<256>(most);
	if (THREAD == 0) raise(out, 0, most);
}

// amax_rows is that of each row of x·fold, and amax_cols raises out to that of each column.
KERNEL(256, amax_rows, dst out, src x, src fold, u64 rows, u64 cols, u32 flags) {
	const factors f = factors_of(fold, src{nullptr, 0}, flags);
	for (u64 row = BLOCK; row < rows; row += BLOCKS) {
		u32 most = 0;
		for (u64 col = THREAD * 8; col < cols; col += 256 * 8) {
			float v[8];
			get8(x, row * cols + col, (row + 1) * cols, v);
			fold8(f, row, col, cols, cols - col, v);
			most = magnitude8(most, v);
		}
		most = block_max<256>(most);
		if (THREAD == 0) store<u32>(out, row, most);
	}
}

// A block has 256 columns of BAND rows; each of its 8 warps every eighth row.
#define BAND 128

KERNEL(256, amax_cols, dst out, src x, src fold, u64 rows, u64 cols, u32 flags) {
	SHARED(u32, found, 8 * 256);
	const factors f = factors_of(fold, src{nullptr, 0}, flags);
	const u32 across = (u32)((cols + 255) / 256), down = (u32)((rows + BAND - 1) / BAND);
	const u32 warp = THREAD / WARP, lane = THREAD % WARP;
	for (u32 at = BLOCK; at < across * down; at += BLOCKS) {
		const u64 col0 = (u64)(at % across) * 256, col = col0 + lane * 8, row0 = (u64)(at / across) * BAND;
		u32 most[8] = {0, 0, 0, 0, 0, 0, 0, 0};
		for (u64 row = row0 + warp; row < min_of(rows, row0 + BAND) && col < cols; row += 8) {
			float v[8];
			get8(x, row * cols + col, (row + 1) * cols, v);
			fold8(f, row, col, cols, cols - col, v);
			UNROLL for (u32 k = 0; k < 8; k++) most[k] = max_of(most[k], magnitude(v[k]));
		}
		SYNC();
		UNROLL for (u32 k = 0; k < 8; k++) found[warp * 256 + lane * 8 + k] = most[k];
		SYNC();
		u32 all = 0;
		for (u32 w = 0; w < 8; w++) all = max_of(all, found[w * 256 + THREAD]);
		if (col0 + THREAD < cols) raise(out, col0 + THREAD, all);
	}
}

// scales turns amaxes into scales and reciprocals; formats has a type each, or one for
// all. scale may be amax.
KERNEL(256, scales, dst scale, dst inv, src amax, src formats, u32 format, u32 pow2) {
	for (u64 i = START(1); i < amax.n(); i += STRIDE(1)) {
		const u32 t = formats.none() ? format : load<u32>(formats, i);
		const float s = scale_of(t, load<float>(amax, i), pow2);
		store<float>(scale, i, s);
		store<float>(inv, i, 1 / s);
	}
}

// sync_histories moves records to histories; see device.Kernels. A thread has a tensor.
KERNEL(256, sync_histories, dst record, dst last, dst history, dst scale, dst inv, dst not_finite, src formats, u32 format, u64 length, u32 pow2) {
	for (u64 i = START(1); i < record.n(); i += STRIDE(1)) {
		const u32 bits = load<u32>(record, i);
		if ((i32)bits >= 0 && bits >= INFINITY_BITS) {
			store<i32>(not_finite, i, load<i32>(not_finite, i) + 1);
		} else if ((i32)bits >= 0) {
			float most = as_float(bits);
			for (u64 h = length - 1; h > 0; h--) {
				const float a = load<float>(history, i * length + h - 1);
				store<float>(history, i * length + h, a);
				most = a > most ? a : most;
			}
			store<u32>(history, i * length, bits);
			store<u32>(last, i, bits);
			const float s = scale_of(formats.none() ? format : load<u32>(formats, i), most, pow2);
			store<float>(scale, i, s);
			store<float>(inv, i, 1 / s);
		}
		store<float>(record, i, -1);
	}
}
