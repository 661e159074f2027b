// SPDX-License-Identifier: Apache-2.0

// Kernels with the faults that the emulation is to find, and one without.

#include "dev.h"

KERNEL(64, good, dst y, src x) {
	SHARED(float, turned, 64);
	turned[63 - THREAD] = load<float>(x, THREAD);
	SYNC();
	const float sum = warp_sum(turned[THREAD]);
	store<float>(y, THREAD, turned[THREAD] + sum);
}

KERNEL(64, reads_beyond, dst y, src x) { store<float>(y, THREAD, load<float>(x, THREAD + 1)); }

KERNEL(64, writes_beyond, dst y, src x) { store<float>(y, 2 * THREAD, load<float>(x, THREAD)); }

KERNEL(64, writes_its_source, dst y, src x) { store<float>(dst{(void *)x.p, x.meta}, THREAD, load<float>(y, THREAD)); }

KERNEL(64, leaves_a_barrier, dst y, src x) {
	if (THREAD == 5) return;
	SYNC();
	store<float>(y, THREAD, load<float>(x, THREAD));
}

KERNEL(64, leaves_its_warp, dst y, src x) {
	if (THREAD < 40) store<float>(y, THREAD, warp_sum(load<float>(x, THREAD)));
}

KERNEL(64, forgets_a_barrier, dst y, src x) {
	SHARED(float, turned, 64);
	turned[63 - THREAD] = load<float>(x, THREAD);
	store<float>(y, THREAD, turned[THREAD]);
}

KERNEL(64, leaves_shared_memory, dst y, src x) {
	SHARED(float, few, 32);
	few[THREAD] = load<float>(x, THREAD);
	store<float>(y, THREAD, few[THREAD]);
}

KERNEL(64, raises, dst y, src x) { raise(y, 0, as_bits(load<float>(x, THREAD))); }
