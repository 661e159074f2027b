// SPDX-License-Identifier: Apache-2.0

// The amax of what a kernel writes, which it raises beside, for a cast that comes next. Whoever launches has
// cleared it.

#pragma once

#include "dev.h"

// rounded is v as a type holds it.
DEV float rounded(u32 t, float v) { return t == BFLOAT16 ? from_bf16(to_bf16(v)) : v; }

// written8 is the larger of most and the magnitudes of the first n of v, as y holds them, if an amax is wanted. What is
// not counted is left out without a branch, for which the compiler has too few barriers in some kernels.
DEV u32 written8(u32 most, const dst &amax, const dst &y, u64 n, const float (&v)[8]) {
	const u64 counted = amax.none() ? 0 : n;
	UNROLL for (u32 k = 0; k < 8; k++) most = max_of(most, k < counted ? magnitude(rounded(y.type(), v[k])) : 0);
	return most;
}

// raise_warp is for a warp that writes little at a time, and has no register to spare meanwhile.
DEV void raise_warp(const dst &amax, u32 most) {
	if (amax.none()) return;
	most = warp_max(most);
	if (THREAD % WARP == 0) raise(amax, 0, most);
}

// raise_amax is the end of a block of T threads.
template <u32 T>
DEV void raise_amax(const dst &amax, u32 most) {
	if (amax.none()) return;
	most = block_max<T>(most);
	if (THREAD == 0) raise(amax, 0, most);
}
