// SPDX-License-Identifier: Apache-2.0

// What threads of a warp and of a block find out together. All threads of the warp, or
// of the block, take part, and all get the result; sums are in one order.

#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)

template <class T>
DEV T shuffle_xor(T v, u32 mask) { return __shfl_xor_sync(0xFFFFFFFF, v, mask); }
DEV void sync_warp() { __syncwarp(); }

template <class T>
DEV T warp_sum(T v) {
	UNROLL for (u32 m = WARP / 2; m > 0; m /= 2) v += shuffle_xor(v, m);
	return v;
}
template <class T>
DEV T warp_max(T v) {
	UNROLL for (u32 m = WARP / 2; m > 0; m /= 2) {
		const T w = shuffle_xor(v, m);
		v = w > v ? w : v;
	}
	return v;
}

#endif

// block_sum and block_max are of all T threads of a block.
template <u32 T, class V>
DEV V block_sum(V v) {
	SHARED(V, part, T / WARP);
	v = warp_sum(v);
	SYNC(); // what the call before has found is read
	if (THREAD % WARP == 0) part[THREAD / WARP] = v;
	SYNC();
	V sum = 0;
	for (u32 w = 0; w < T / WARP; w++) sum += part[w];
	return sum;
}
template <u32 T, class V>
DEV V block_max(V v) {
	SHARED(V, part, T / WARP);
	v = warp_max(v);
	SYNC();
	if (THREAD % WARP == 0) part[THREAD / WARP] = v;
	SYNC();
	V most = part[0];
	for (u32 w = 1; w < T / WARP; w++) most = part[w] > most ? part[w] : most;
	return most;
}
