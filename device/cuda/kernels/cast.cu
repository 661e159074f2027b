// SPDX-License-Identifier: Apache-2.0

// Casts between float8 and high precision, in one read of the source.

#include "cast.h"
#include "rows.h"

// hand_on is the end of a cast: a block's amax raises the record, and the scale and its
// reciprocal, where they are given, come to where the result has its own.
DEV void hand_on(const factors &f, u32 most, const dst &record, const dst &scale_out, const dst &inv_out, const src &inv) {
	if (!record.none()) {
		most = block_max<256>(most);
		if (THREAD == 0) raise_signed(record, 0, (i32)most);
	}
	if (!scale_out.none() && BLOCK == 0 && THREAD == 0) {
		store<float>(scale_out, 0, f.scale_all);
		store<float>(inv_out, 0, load<float>(inv, 0));
	}
}

// cast is y = x·fold·scale, rounded to y's type; x·fold is divided by fold instead where
// the source was scaled. record, where there is one, is raised to the amax of x·fold by
// its bits as an int32; given is copied to its two places.
KERNEL(256, cast, dst y, src x, src fold, src scale, u64 cols, u32 flags, dst record, dst scale_out, dst inv_out, src inv) {
	const factors f = factors_of(fold, scale, flags);
	const u64 n = x.n();
	u32 most = 0;
	for (u64 i = START(8); i < n; i += STRIDE(8)) {
		const u64 row = f.flags & BY_AXIS ? i / cols : 0, col = i - row * cols;
		float v[8];
		get8_any(x, i, n, v);
		fold8(f, row, col, cols, n - i, v);
		if (!record.none()) most = magnitude8(most, v);
		scale8(f, row, col, cols, n - i, v);
		put8_any(y, i, n, v);
	}
	hand_on(f, most, record, scale_out, inv_out, inv);
}

// TILE rows and columns are transposed in shared memory, where a row has PITCH bytes.
#define TILE 64
#define PITCH 68

// cast_transposed writes y^T, and y where it is wanted, tile by tile.
KERNEL(256, cast_transposed, dst y, dst yt, src x, src fold, src scale, u64 rows, u64 cols, u32 flags, dst record, dst scale_out, dst inv_out, src inv) {
	SHARED(u8, tile, TILE * PITCH);
	const factors f = factors_of(fold, scale, flags);
	const u32 down = (u32)((rows + TILE - 1) / TILE), across = (u32)((cols + TILE - 1) / TILE);
	u32 most = 0;
	for (u32 at = BLOCK; at < down * across; at += BLOCKS) {
		const u64 row0 = (u64)(at / across) * TILE, col0 = (u64)(at % across) * TILE;
		SYNC(); // the tile before is written
		for (u32 j = THREAD; j < TILE * TILE / 8; j += THREADS) {
			const u64 row = row0 + j / 8, col = col0 + j % 8 * 8;
			if (row >= rows || col >= cols) continue;
			const u64 i = row * cols + col, end = (row + 1) * cols;
			float v[8];
			get8_any(x, i, end, v);
			fold8(f, row, col, cols, end - i, v);
			if (!record.none()) most = magnitude8(most, v);
			scale8(f, row, col, cols, end - i, v);
			if (!y.none()) put8_any(y, i, end, v);
			const lanes8 codes = {{encode4(yt.type(), v), encode4(yt.type(), v + 4)}};
			UNROLL for (u32 k = 0; k < 8; k++) tile[j / 8 * PITCH + j % 8 * 8 + k] = (u8)(codes.v[k / 4] >> k % 4 * 8);
		}
		SYNC();
		for (u32 j = THREAD; j < TILE * TILE / 8; j += THREADS) {
			const u64 col = col0 + j / 8, row = row0 + j % 8 * 8;
			if (row >= rows || col >= cols) continue;
			const u64 i = col * rows + row;
			lanes8 codes = {{0, 0}};
			UNROLL for (u32 k = 0; k < 8; k++) codes.v[k / 4] |= (u32)tile[(j % 8 * 8 + k) * PITCH + j / 8] << k % 4 * 8;
			if (row + 8 <= rows && aligned(yt.p, i, 8))
				store(yt, i / 8, codes);
			else
				for (u32 k = 0; k < 8 && row + k < rows; k++) store<u8>(yt, i + k, (u8)(codes.v[k / 4] >> k % 4 * 8));
		}
	}
	hand_on(f, most, record, scale_out, inv_out, inv);
}

// cast_rows scales each row by its own amax.
KERNEL(256, cast_rows, dst y, src x, src fold, dst scale, dst inv, u64 rows, u64 cols, u32 flags, u32 pow2, u32 hold) {
	DYNAMIC(float, held);
	const factors f = factors_of(fold, src{nullptr, 0}, flags);
	const u32 eights = eights_of(cols);
	for (u64 row = BLOCK; row < rows; row += BLOCKS) {
		const u64 begin = row * cols, end = begin + cols;
		float v[8];
		u32 most = 0;
		for (u32 j = THREAD; j < eights; j += 256) {
			get8(x, begin + j * 8, end, v);
			fold8(f, row, j * 8, cols, cols - j * 8, v);
			most = magnitude8(most, v);
			if (hold) hold8(held, eights, j, v);
		}
		most = block_max<256>(most);
		const float s = scale_of(y.type(), as_float(most), pow2);
		if (THREAD == 0) {
			store<float>(scale, row, s);
			store<float>(inv, row, 1 / s);
		}
		for (u32 j = THREAD; j < eights; j += 256) {
			if (hold) {
				held8(held, eights, j, v);
			} else {
				get8(x, begin + j * 8, end, v);
				fold8(f, row, j * 8, cols, cols - j * 8, v);
			}
			UNROLL for (u32 e = 0; e < 8; e++) v[e] *= s;
			put8_any(y, begin + j * 8, end, v);
		}
	}
}

// transposed moves elements of E bytes, eight bytes at a time where both sides lie so.
template <class E>
DEV void transposed(const dst &y, const src &x, u64 rows, u64 cols) {
	const u32 lane = 8 / sizeof(E), lanes = TILE / lane, pitch = TILE + 4 / sizeof(E);
	SHARED(E, tile, TILE * (TILE + 4 / sizeof(E)));
	union both {
		lanes8 whole;
		E part[8 / sizeof(E)];
	} v;
	const u32 down = (u32)((rows + TILE - 1) / TILE), across = (u32)((cols + TILE - 1) / TILE);
	for (u32 at = BLOCK; at < down * across; at += BLOCKS) {
		const u64 row0 = (u64)(at / across) * TILE, col0 = (u64)(at % across) * TILE;
		SYNC();
		for (u32 j = THREAD; j < TILE * lanes; j += THREADS) {
			const u64 row = row0 + j / lanes, col = col0 + j % lanes * lane, i = row * cols + col;
			if (row >= rows || col >= cols) continue;
			if (col + lane <= cols && aligned(x.p, i * sizeof(E), 8))
				v.whole = load<lanes8>(x, i * sizeof(E) / 8);
			else
				for (u32 k = 0; k < lane && col + k < cols; k++) v.part[k] = load<E>(x, i + k);
			UNROLL for (u32 k = 0; k < lane; k++) tile[j / lanes * pitch + j % lanes * lane + k] = v.part[k];
		}
		SYNC();
		for (u32 j = THREAD; j < TILE * lanes; j += THREADS) {
			const u64 col = col0 + j / lanes, row = row0 + j % lanes * lane, i = col * rows + row;
			if (row >= rows || col >= cols) continue;
			UNROLL for (u32 k = 0; k < lane; k++) v.part[k] = tile[(j % lanes * lane + k) * pitch + j / lanes];
			if (row + lane <= rows && aligned(y.p, i * sizeof(E), 8))
				store(y, i * sizeof(E) / 8, v.whole);
			else
				for (u32 k = 0; k < lane && row + k < rows; k++) store<E>(y, i + k, v.part[k]);
		}
	}
}

KERNEL(256, transpose1, dst y, src x, u64 rows, u64 cols) { transposed<u8>(y, x, rows, cols); }
KERNEL(256, transpose2, dst y, src x, u64 rows, u64 cols) { transposed<u16>(y, x, rows, cols); }
KERNEL(256, transpose4, dst y, src x, u64 rows, u64 cols) { transposed<u32>(y, x, rows, cols); }
