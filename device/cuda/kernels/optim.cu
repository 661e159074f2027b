// SPDX-License-Identifier: Apache-2.0

// Clipping and AdamW.

#include "dev.h"

KERNEL(32, clip_coef, dst norm, dst coef, src sumsq, float most) {
	if (THREAD != 0) return;
	const float n = sqrtf(load<float>(sumsq, 0));
	float c = 1;
	if (most > 0 && most / (n + 1e-6f) < 1) c = most / (n + 1e-6f);
	if (n - n != 0) c = n - n; // NaN or infinite
	store<float>(norm, 0, n);
	store<float>(coef, 0, c);
}

// The numbers of a step, in the precision of the elements: what adamw_step writes and adamw
// reads.
enum adamw_number : u32 { GRAD, DECAY, L2, M, V, G2, ROOT, EPS, STEP, ADAMW_NUMBERS };

// adamw_step counts the update and makes its numbers, of float64s. Where coef is NaN it
// counts nothing, and GRAD is NaN, with which adamw writes nothing.
KERNEL(32, adamw_step, dst numbers, dst steps, src coef, double lr, double beta1, double beta2, double eps, double decay, u32 l2) {
	if (THREAD != 0) return;
	const float by = coef.none() ? 1 : load<float>(coef, 0);
	store<float>(numbers, GRAD, by);
	if (by != by) return;
	const i32 t = load<i32>(steps, 0) + 1;
	store<i32>(steps, 0, t);
	const double correction1 = 1 - pow(beta1, (double)t), correction2 = 1 - pow(beta2, (double)t);
	store<float>(numbers, DECAY, l2 ? 1 : (float)(1 - lr * decay));
	store<float>(numbers, L2, l2 ? (float)decay : 0);
	store<float>(numbers, M, (float)(1 - beta1));
	store<float>(numbers, V, (float)beta2);
	store<float>(numbers, G2, (float)(1 - beta2));
	store<float>(numbers, ROOT, (float)sqrt(correction2));
	store<float>(numbers, EPS, (float)eps);
	store<float>(numbers, STEP, (float)(lr / correction1));
}

// adamw updates a list of (p, g, m, v), each operation rounded by itself, in PyTorch's order.
KERNEL(256, adamw, table list, src numbers) {
	const float by = load<float>(numbers, GRAD);
	if (by != by) return;
	float c[ADAMW_NUMBERS];
	UNROLL for (u32 k = 0; k < ADAMW_NUMBERS; k++) c[k] = load<float>(numbers, k);
	const u64 chunks = chunks_before(list, list.rows());
	for (u64 at = BLOCK; at < chunks; at += BLOCKS) {
		const u32 row = row_of(list, at);
		const dst p = tensor_of(list, row, 0), g = tensor_of(list, row, 1), m = tensor_of(list, row, 2), v = tensor_of(list, row, 3);
		const u64 begin = (at - chunks_before(list, row)) * CHUNK, end = min_of(p.n(), begin + CHUNK);
		for (u64 i = begin + THREAD * 8; i < end; i += 256 * 8) {
			float ps[8], gs[8], ms[8], vs[8];
			get8(p, i, end, ps);
			get8(g, i, end, gs);
			get8(m, i, end, ms);
			get8(v, i, end, vs);
			UNROLL for (u32 k = 0; k < 8; k++) {
				const float grad = add_rn(mul_rn(gs[k], c[GRAD]), mul_rn(c[L2], ps[k]));
				ms[k] = add_rn(ms[k], mul_rn(c[M], add_rn(grad, -ms[k])));
				vs[k] = add_rn(mul_rn(c[V], vs[k]), mul_rn(mul_rn(c[G2], grad), grad));
				const float root = add_rn(sqrtf(vs[k]) / c[ROOT], c[EPS]);
				ps[k] = add_rn(mul_rn(ps[k], c[DECAY]), -(mul_rn(c[STEP], ms[k]) / root));
			}
			put8(p, i, end, ps);
			put8(m, i, end, ms);
			put8(v, i, end, vs);
		}
	}
}
