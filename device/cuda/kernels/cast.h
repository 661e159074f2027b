// SPDX-License-Identifier: Apache-2.0

// What casts are made of: factors, and the codes of eight elements.

#pragma once

#include "dev.h"

// What an element of a matrix is multiplied by, as flags say: one number for all, one a
// row, or one a column; none is 1. A value that was scaled may be divided instead.
enum factor_flags : u32 { FOLD_ROWS = 1, FOLD_COLS = 2, FOLD_DIVIDES = 4, SCALE_ROWS = 8, SCALE_COLS = 16 };

// BY_AXIS are the flags of what depends on an element's place.
#define BY_AXIS (FOLD_ROWS | FOLD_COLS | SCALE_ROWS | SCALE_COLS)

// factors are those of a cast: fold of the source, scale of what it becomes. One number
// for all is read once.
struct factors {
	src fold, scale;
	u32 flags;
	float fold_all, scale_all;
};

DEV float first_of(const src &f, bool many) { return f.none() || many ? 1 : load<float>(f, 0); }

DEV factors factors_of(const src &fold, const src &scale, u32 flags) {
	return {fold, scale, flags, first_of(fold, flags & (FOLD_ROWS | FOLD_COLS)), first_of(scale, flags & (SCALE_ROWS | SCALE_COLS))};
}

// folded is a value of the source as the cast takes it, scaled what is encoded.
DEV float folded(const factors &f, float v, u64 row, u64 col) {
	const float by = f.flags & (FOLD_ROWS | FOLD_COLS) ? load<float>(f.fold, f.flags & FOLD_ROWS ? row : col) : f.fold_all;
	return f.flags & FOLD_DIVIDES ? v / by : v * by;
}
DEV float scaled(const factors &f, float v, u64 row, u64 col) {
	return v * (f.flags & (SCALE_ROWS | SCALE_COLS) ? load<float>(f.scale, f.flags & SCALE_ROWS ? row : col) : f.scale_all);
}

// fold8 and scale8 are those of eight elements from (row, col) on, of which n are there; a
// row of the matrix has so many columns.
DEV void fold8(const factors &f, u64 row, u64 col, u64 cols, u64 n, float (&v)[8]) {
	if (!(f.flags & (FOLD_ROWS | FOLD_COLS))) {
		UNROLL for (u32 k = 0; k < 8; k++) v[k] = folded(f, v[k], 0, 0);
		return;
	}
	ROLL for (u32 k = 0; k < 8 && k < n; k++) {
		place(v, k, folded(f, pick(v, k), row, col));
		if (++col == cols) col = 0, row++;
	}
}
DEV void scale8(const factors &f, u64 row, u64 col, u64 cols, u64 n, float (&v)[8]) {
	if (!(f.flags & (SCALE_ROWS | SCALE_COLS))) {
		UNROLL for (u32 k = 0; k < 8; k++) v[k] = scaled(f, v[k], 0, 0);
		return;
	}
	ROLL for (u32 k = 0; k < 8 && k < n; k++) {
		place(v, k, scaled(f, pick(v, k), row, col));
		if (++col == cols) col = 0, row++;
	}
}

DEV u32 magnitude8(u32 most, const float (&v)[8]) {
	UNROLL for (u32 k = 0; k < 8; k++) most = max_of(most, magnitude(v[k]));
	return most;
}
