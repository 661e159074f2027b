// SPDX-License-Identifier: Apache-2.0

// What is looked up by a token's id or position. What is out of range gives NaN, and
// check_ids says so.

#include "written.h"

// check_ids finds the first of n ids (but those equal to ignored) outside [0,limit), or
// with ascending the first below the one before it, and writes fault = (kind, where,
// which, the one before) unless one was found earlier. One block.
KERNEL(1024, check_ids, dst fault, src ids, i32 kind, i32 limit, i32 ignored, u32 ascending) {
	u32 first = 0xFFFFFFFF;
	for (u64 i = THREAD; i < ids.n() && first == 0xFFFFFFFF; i += THREADS) {
		const i32 id = load<i32>(ids, i), least = ascending && i > 0 ? load<i32>(ids, i - 1) : 0;
		if (id != ignored && (id < least || (!ascending && id >= limit))) first = (u32)i;
	}
	first = 0xFFFFFFFF - block_max<1024>(0xFFFFFFFF - first);
	if (THREAD != 0 || first == 0xFFFFFFFF || load<i32>(fault, 0) != 0) return;
	store<i32>(fault, 0, kind);
	store<i32>(fault, 1, (i32)first);
	store<i32>(fault, 2, load<i32>(ids, first));
	store<i32>(fault, 3, ascending && first > 0 ? load<i32>(ids, first - 1) : ascending ? 0 : limit);
}

// embedding looks up what of a vocabulary is in held rows from offset on; the rest is 0.
KERNEL(256, embedding, dst y, src rows, src ids, u64 offset, u64 held, u64 vocab, u64 cols) {
	for (u64 t = BLOCK; t < ids.n(); t += BLOCKS) {
		const i32 id = load<i32>(ids, t);
		const bool bad = id < 0 || (u64)id >= vocab;
		const u64 row = (u64)id - offset;
		for (u64 c = THREAD * 8; c < cols; c += 256 * 8) {
			float v[8];
			if (bad || row >= held) {
				UNROLL for (u32 k = 0; k < 8; k++) v[k] = bad ? nan32() : 0;
			} else {
				get8(rows, row * cols + c, (row + 1) * cols, v);
			}
			put8(y, t * cols + c, (t + 1) * cols, v);
		}
	}
}

// The gradient sorts its tokens by id and place: keys are id·2^32 + place, which no two
// share. A block first ranks 256 keys by comparing each with all; runs are then merged in
// pairs: a key's place is its own in its run, and how many of the other run are less.
#define RUN 256

DEV u64 key_of(const src &ids, u64 vocab, u64 t) {
	const i32 id = load<i32>(ids, t);
	return (id < 0 || (u64)id >= vocab ? 0 : (u64)id) << 32 | t;
}

KERNEL(RUN, sort_runs, dst keys, src ids, u64 vocab) {
	SHARED(u64, run, RUN);
	const u64 n = ids.n();
	for (u64 begin = (u64)BLOCK * RUN; begin < n; begin += (u64)BLOCKS * RUN) {
		const u64 t = begin + THREAD;
		const u64 mine = t < n ? key_of(ids, vocab, t) : ~(u64)0;
		SYNC();
		run[THREAD] = mine;
		SYNC();
		u32 rank = 0;
		for (u32 i = 0; i < RUN; i++) rank += run[i] < mine;
		if (t < n) store<u64>(keys, begin + rank, mine);
	}
}

KERNEL(256, merge_runs, dst out, src keys, u64 n, u64 run) {
	for (u64 i = START(1); i < n; i += STRIDE(1)) {
		const u64 mine = load<u64>(keys, i), pair = i / (2 * run) * 2 * run;
		const bool second = i - pair >= run;
		u64 lo = second ? pair : min_of(n, pair + run), hi = second ? pair + run : min_of(n, pair + 2 * run);
		const u64 other = lo, own = second ? i - pair - run : i - pair;
		while (lo < hi) {
			const u64 mid = (lo + hi) / 2;
			if (load<u64>(keys, mid) < mine)
				lo = mid + 1;
			else
				hi = mid;
		}
		store<u64>(out, pair + own + (lo - other), mine);
	}
}

// embedding_grad sums the rows of dy of each id, in order of their places, from sorted
// keys, into held rows from offset on. The first key of an id has a block; rows of table
// without tokens are 0 before.
KERNEL(256, embedding_grad, dst grad, src dy, src keys, src ids, u64 n, u64 offset, u64 held, u64 vocab, u64 cols) {
	for (u64 i = BLOCK; i < n; i += BLOCKS) {
		const u64 id = load<u64>(keys, i) >> 32, row = id - offset;
		if (row >= held || (i > 0 && load<u64>(keys, i - 1) >> 32 == id)) continue;
		for (u64 c = THREAD * 8; c < cols; c += 256 * 8) {
			float sum[8] = {0, 0, 0, 0, 0, 0, 0, 0}, v[8];
			for (u64 j = i; j < n; j++) {
				const u64 key = load<u64>(keys, j), t = key & 0xFFFFFFFF;
				if (key >> 32 != id) break;
				const i32 is = load<i32>(ids, t);
				get8(dy, t * cols + c, (t + 1) * cols, v);
				UNROLL for (u32 k = 0; k < 8; k++) sum[k] += is < 0 || (u64)is >= vocab ? nan32() : v[k];
			}
			put8(grad, row * cols + c, (row + 1) * cols, sum);
		}
	}
}

// rope rotates the pairs of each head in place by the angles [positions,hd/2,2]; pos,
// where it is given, has a position for each of seq tokens.
KERNEL(256, rope, dst x, src angles, src pos, u64 seq, u32 heads, u32 hd, u32 inverse, dst amax) {
	u32 most = 0;
	const u64 limit = angles.n() / hd;
	for (u64 i = START(8); i < x.n(); i += STRIDE(8)) {
		float v[8], a[8];
		get8(x, i, x.n(), v);
		const auto row = [&](u64 at) {
			const u64 token = at / ((u64)heads * hd) % seq;
			return pos.none() ? token : (u64)load<i32>(pos, token);
		};
		if (hd % 8 == 0) {
			const u64 p = row(i);
			if (p < limit)
				get8(angles, p * hd + i % hd, angles.n(), a);
			else
				UNROLL for (u32 k = 0; k < 8; k++) a[k] = nan32();
		} else {
			UNROLL for (u32 k = 0; k < 8; k += 2) {
				if (i + k >= x.n()) break;
				const u64 p = row(i + k), at = p * hd + (i + k) % hd;
				a[k] = p < limit ? load<float>(angles, at) : nan32();
				a[k + 1] = p < limit ? load<float>(angles, at + 1) : nan32();
			}
		}
		UNROLL for (u32 k = 0; k < 8; k += 2) {
			const float c = a[k], s = inverse ? -a[k + 1] : a[k + 1], p = v[k], q = v[k + 1];
			v[k] = p * c - q * s;
			v[k + 1] = p * s + q * c;
		}
		put8(x, i, x.n(), v);
		most = written8(most, amax, x, x.n() - i, v);
	}
	raise_amax<256>(amax, most);
}
