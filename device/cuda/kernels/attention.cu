// SPDX-License-Identifier: Apache-2.0

// Attention of any type and head, a warp a row: exact rather than fast. The gradient is
// two kernels, by queries and by keys, so that nothing is summed by two.

#include "attention.h"
#include "written.h"

#define WARPS 4
#define MOST 256 // elements of a head
#define PARTS (MOST / WARP)

// attention_seen counts the keys that each query sees; positions ascend. After a fault
// it is -1, which is NaN.
KERNEL(256, attention_seen, dst seen, src qpos, src kpos, src fault, u32 sk) {
	for (u64 i = START(1); i < seen.n(); i += STRIDE(1)) {
		const i32 at = qpos.none() ? (i32)i : load<i32>(qpos, i);
		u32 lo = 0, hi = sk;
		while (lo < hi) {
			const u32 mid = (lo + hi) / 2;
			if ((kpos.none() ? (i32)mid : load<i32>(kpos, mid)) <= at)
				lo = mid + 1;
			else
				hi = mid;
		}
		store<i32>(seen, i, load<i32>(fault, 0) != 0 ? -1 : (i32)lo);
	}
}

// dot is of a row in shared memory and one in global.
DEV float dot(Shared<float> x, const src &y, u64 at, u32 hd) {
	float sum = 0, v[8];
	for (u32 c = 0; c < hd; c += 8) {
		get8(y, at + c, at + hd, v);
		UNROLL for (u32 k = 0; k < 8; k++)
			if (c + k < hd) sum += x[c + k] * v[k];
	}
	return sum;
}

// held reads a row to shared memory, for its warp.
DEV void held(Shared<float> to, const src &x, u64 at, u32 hd) {
	for (u32 c = THREAD % WARP; c < hd; c += WARP) to[c] = get(x, at + c);
}

// add_rows adds to a lane's columns the sum of n rows, each times its weight.
DEV void add_rows(float (&acc)[PARTS], Shared<float> weights, u32 n, const src &x, u64 at, u64 apart, u32 hd) {
	for (u32 j = 0; j < n; j++)
		UNROLL for (u32 p = 0; p < PARTS; p++) {
			const u32 c = p * WARP + THREAD % WARP;
			if (c < hd) acc[p] += weights[j] * get(x, at + j * apart + c);
		}
}

// put_row writes a row, and is its lane's magnitude of those.
DEV u32 put_row(const dst &y, u64 at, u32 hd, const float (&acc)[PARTS], float by) {
	u32 most = 0;
	UNROLL for (u32 p = 0; p < PARTS; p++) {
		const u32 c = p * WARP + THREAD % WARP;
		if (c >= hd) continue;
		put(y, at + c, acc[p] * by);
		most = max_of(most, magnitude(rounded(y.type(), acc[p] * by)));
	}
	return most;
}

KERNEL(WARPS * WARP, attention, dst o, dst lse, dst amax, src q, src k, src v, src seen, u32 sq, u32 sk, u32 h, u32 kv, u32 hd) {
	SHARED(float, queries, WARPS * MOST);
	SHARED(float, weights, WARPS * WARP);
	const shape a = {sq, sk, h, kv, hd};
	const u32 warp = THREAD / WARP, lane = THREAD % WARP;
	const auto row = queries + warp * MOST;
	const auto weight = weights + warp * WARP;
	const float scale = 1 / sqrtf((float)hd);
	const u64 rows = lse.n();
	for (u64 r = (u64)BLOCK * WARPS + warp; r < rows; r += (u64)BLOCKS * WARPS) {
		const u64 i = r % sq, head = r / sq % h, b = r / sq / h, at = query_at(a, b, i, head), group = head / (h / kv);
		const i32 n = seen_by(seen, i, sk);
		float acc[PARTS], most = -infinity(), sum = 0;
		UNROLL for (u32 p = 0; p < PARTS; p++) acc[p] = n < 0 ? nan32() : 0;
		sync_warp(); // the row before is read
		held(row, q, at, hd);
		sync_warp();
		for (i32 j0 = 0; j0 < n; j0 += WARP) {
			const i32 j = j0 + (i32)lane;
			const float s = j < n ? dot(row, k, key_at(a, b, j, group), hd) * scale : -infinity();
			const float top = warp_max(s), next = top > most ? top : most, from = next == -infinity() ? 0 : next;
			const float shrink = most == next ? 1 : expf(most - from), p = j < n ? expf(s - from) : 0;
			most = next;
			sum = sum * shrink + p;
			weight[lane] = p;
			sync_warp();
			UNROLL for (u32 c = 0; c < PARTS; c++) acc[c] *= shrink;
			add_rows(acc, weight, min_of((u32)(n - j0), (u32)WARP), v, key_at(a, b, j0, group), (u64)kv * hd, hd);
			sync_warp();
		}
		sum = warp_sum(sum);
		raise_warp(amax, put_row(o, at, hd, acc, n > 0 ? 1 / sum : 1));
		if (lane == 0) store<float>(lse, r, n > 0 ? most + logf(sum) : n == 0 ? -infinity() : nan32());
	}
}

// attention_delta is the sum of do·o of each row, [B,H,Sq].
KERNEL(WARPS * WARP, attention_delta, dst delta, src grad, src o, u32 sq, u32 h, u32 hd) {
	const u32 lane = THREAD % WARP;
	for (u64 r = (u64)BLOCK * WARPS + THREAD / WARP; r < delta.n(); r += (u64)BLOCKS * WARPS) {
		const u64 at = ((r / sq / h * sq + r % sq) * h + r / sq % h) * hd;
		float sum = 0;
		for (u32 c = lane; c < hd; c += WARP) sum += get(grad, at + c) * get(o, at + c);
		sum = warp_sum(sum);
		if (lane == 0) store<float>(delta, r, sum);
	}
}

KERNEL(WARPS * WARP, attention_grad_q, dst dq, src grad, src q, src k, src v, src lse, src delta, src seen, u32 sq, u32 sk, u32 h, u32 kv, u32 hd) {
	SHARED(float, queries, WARPS * MOST);
	SHARED(float, grads, WARPS * MOST);
	SHARED(float, weights, WARPS * WARP);
	const shape a = {sq, sk, h, kv, hd};
	const u32 warp = THREAD / WARP, lane = THREAD % WARP;
	const auto row = queries + warp * MOST, out = grads + warp * MOST;
	const auto weight = weights + warp * WARP;
	const float scale = 1 / sqrtf((float)hd);
	for (u64 r = (u64)BLOCK * WARPS + warp; r < lse.n(); r += (u64)BLOCKS * WARPS) {
		const u64 i = r % sq, head = r / sq % h, b = r / sq / h, at = query_at(a, b, i, head), group = head / (h / kv);
		const i32 n = seen_by(seen, i, sk);
		const float l = load<float>(lse, r), d = load<float>(delta, r);
		float acc[PARTS];
		UNROLL for (u32 p = 0; p < PARTS; p++) acc[p] = n < 0 ? nan32() : 0;
		sync_warp();
		held(row, q, at, hd);
		held(out, grad, at, hd);
		sync_warp();
		for (i32 j0 = 0; j0 < n; j0 += WARP) {
			const i32 j = j0 + (i32)lane;
			float ds = 0;
			if (j < n) {
				const u64 key = key_at(a, b, j, group);
				ds = expf(dot(row, k, key, hd) * scale - l) * (dot(out, v, key, hd) - d);
			}
			weight[lane] = ds;
			sync_warp();
			add_rows(acc, weight, min_of((u32)(n - j0), (u32)WARP), k, key_at(a, b, j0, group), (u64)kv * hd, hd);
			sync_warp();
		}
		put_row(dq, at, hd, acc, scale);
	}
}

// attention_grad_kv goes over the queries that see a key, of all heads of its group.
KERNEL(WARPS * WARP, attention_grad_kv, dst dk, dst dv, dst amax, src grad, src q, src k, src v, src lse, src delta, src seen, u32 sq, u32 sk, u32 h, u32 kv, u32 hd) {
	SHARED(float, keys, WARPS * MOST);
	SHARED(float, values, WARPS * MOST);
	SHARED(float, weights, WARPS * WARP);
	SHARED(float, slopes, WARPS * WARP);
	const shape a = {sq, sk, h, kv, hd};
	const u32 warp = THREAD / WARP, lane = THREAD % WARP;
	const auto key = keys + warp * MOST, value = values + warp * MOST;
	const auto weight = weights + warp * WARP, slope = slopes + warp * WARP;
	const float scale = 1 / sqrtf((float)hd);
	const u64 rows = k.n() / hd;
	for (u64 r = (u64)BLOCK * WARPS + warp; r < rows; r += (u64)BLOCKS * WARPS) {
		const u64 group = r % kv, j = r / kv % sk, b = r / kv / sk, at = key_at(a, b, j, group);
		const u32 first = first_to_see(seen, (u32)j, sq, sk);
		const bool fault = sq > 0 && seen_by(seen, 0, sk) < 0;
		float acck[PARTS], accv[PARTS];
		UNROLL for (u32 p = 0; p < PARTS; p++) acck[p] = accv[p] = fault ? nan32() : 0;
		sync_warp();
		held(key, k, at, hd);
		held(value, v, at, hd);
		sync_warp();
		for (u64 head = group * (h / kv); head < (group + 1) * (h / kv); head++)
			for (u32 i0 = first; i0 < sq; i0 += WARP) {
				const u32 i = i0 + lane;
				float p = 0, ds = 0;
				if (i < sq) {
					const u64 query = query_at(a, b, i, head), stat = (b * h + head) * sq + i;
					p = expf(dot(key, q, query, hd) * scale - load<float>(lse, stat));
					ds = p * (dot(value, grad, query, hd) - load<float>(delta, stat));
				}
				weight[lane] = p;
				slope[lane] = ds;
				sync_warp();
				const u32 n = min_of(sq - i0, (u32)WARP);
				add_rows(acck, slope, n, q, query_at(a, b, i0, head), (u64)h * hd, hd);
				add_rows(accv, weight, n, grad, query_at(a, b, i0, head), (u64)h * hd, hd);
				sync_warp();
			}
		put_row(dk, at, hd, acck, scale);
		raise_warp(amax, put_row(dv, at, hd, accv, 1));
	}
}
