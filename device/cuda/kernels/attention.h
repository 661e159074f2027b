// SPDX-License-Identifier: Apache-2.0

// What kernels of attention are given: q, o [B,Sq,H,hd], k, v [B,Sk,KV,hd], lse [B,H,Sq].
// Query i of every sequence sees the first seen[i] keys; without seen, i+1 of them. seen
// ascends.

#pragma once

#include "dev.h"

struct shape {
	u32 sq, sk, h, kv, hd;
};

DEV i32 seen_by(const src &seen, u64 i, u32 sk) { return seen.none() ? (i32)min_of((u32)i + 1, sk) : load<i32>(seen, i); }

// Where the head of a query, and of a key, begins.
DEV u64 query_at(const shape &a, u64 b, u64 i, u64 h) { return ((b * a.sq + i) * a.h + h) * a.hd; }
DEV u64 key_at(const shape &a, u64 b, u64 j, u64 kv) { return ((b * a.sk + j) * a.kv + kv) * a.hd; }

// first_to_see is the first query that sees key j, or sq.
DEV u32 first_to_see(const src &seen, u32 j, u32 sq, u32 sk) {
	u32 lo = 0, hi = sq;
	while (lo < hi) {
		const u32 mid = (lo + hi) / 2;
		if (seen_by(seen, mid, sk) > (i32)j)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}
