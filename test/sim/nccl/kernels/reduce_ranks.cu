// SPDX-License-Identifier: Apache-2.0

// The one kernel of the simulated libnccl, in the dialect of device/cuda/kernels.

#include "dev.h"

// reduce_ranks is the sum (op 0) or the maximum (2) of x [ranks, n] over its ranks, in
// their order: floats in float32, rounded once; int32 wraps around.
KERNEL(256, reduce_ranks, dst y, src x, u32 op) {
	const u64 n = y.n(), ranks = x.n() / n;
	if (y.type() == INT32) {
		for (u64 i = START(1); i < n; i += STRIDE(1)) {
			i32 v = load<i32>(x, i);
			for (u64 q = 1; q < ranks; q++) {
				const i32 w = load<i32>(x, q * n + i);
				v = op == 0 ? (i32)((u32)v + (u32)w) : w > v ? w : v;
			}
			store<i32>(y, i, v);
		}
		return;
	}
	for (u64 i = START(8); i < n; i += STRIDE(8)) {
		float v[8], w[8];
		get8(x, i, n, v);
		for (u64 q = 1; q < ranks; q++) {
			get8(x, q * n + i, (q + 1) * n, w);
			UNROLL for (u32 k = 0; k < 8; k++) v[k] = op == 0 ? v[k] + w[k] : w[k] > v[k] ? w[k] : v[k];
		}
		put8(y, i, n, v);
	}
}
