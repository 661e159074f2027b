// SPDX-License-Identifier: Apache-2.0

// What a cast has done to a tensor, for diagnosis: exact rather than fast.

#include "cast.h"

// beyond is the largest value that rounds to the format's largest: half a step above.
DEV float beyond(u32 t) { return t == E4M3 ? 464.0f : 61440.0f; }

// cast_stats raises maxima and writes a block's sums to its row of partial, float64 [blocks,5],
// in the order of device.CastStats' places.
KERNEL(256, cast_stats, dst maxima, dst partial, src x, src fold, src q, src scale, src inv, u64 rows, u64 cols, u32 flags, u32 transposed) {
	const factors f = factors_of(fold, scale, flags);
	const factors back = factors_of(src{nullptr, 0}, inv, flags);
	double count = 0, saturated = 0, underflowed = 0, signal = 0, error = 0;
	u32 most = 0, most_scale = 0, most_inv = 0;
	for (u64 i = START(1); i < rows * cols; i += STRIDE(1)) {
		const u64 row = i / cols, col = i % cols;
		const float v = folded(f, get(x, i), row, col), is = get_any(q, transposed ? col * rows + row : i);
		const float to = scaled(f, v, row, col), off_by = scaled(back, is, row, col);
		most = max_of(most, magnitude(v));
		count += 1;
		saturated += to > beyond(q.type()) || to < -beyond(q.type());
		underflowed += is == 0 && v != 0;
		signal += (double)v * v;
		const double off = (double)v - (double)off_by;
		error += off * off;
	}
	for (u64 i = START(1); i < scale.n(); i += STRIDE(1)) {
		most_scale = max_of(most_scale, magnitude(load<float>(scale, i)));
		most_inv = max_of(most_inv, magnitude(load<float>(inv, i)));
	}
	const double sums[5] = {block_sum<256>(count), block_sum<256>(saturated), block_sum<256>(underflowed), block_sum<256>(signal), block_sum<256>(error)};
	const u32 tops[3] = {block_max<256>(most), block_max<256>(most_scale), block_max<256>(most_inv)};
	if (THREAD != 0) return;
	for (u32 k = 0; k < 5; k++) store<double>(partial, BLOCK * 5 + k, sums[k]);
	for (u32 k = 0; k < 3; k++) raise(maxima, k, tops[k]);
}

// cast_stats_sum adds the blocks' sums to sums, in their order.
KERNEL(32, cast_stats_sum, dst sums, src partial, u32 blocks) {
	if (THREAD >= 5) return;
	double total = load<float>(sums, THREAD);
	for (u32 b = 0; b < blocks; b++) total += load<double>(partial, b * 5 + THREAD);
	store<float>(sums, THREAD, (float)total);
}
