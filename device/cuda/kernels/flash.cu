// SPDX-License-Identifier: Apache-2.0

// Attention of bfloat16 by tensor cores, heads of 64 and of 128. A block has a tile of 64
// queries, or of keys for their gradients, 16 rows a warp, and goes over tiles of the
// others, of which the next is copied while one is multiplied. Scores stay in registers:
// where mma leaves them its next operand is read. Softmax and all sums are float32; P and
// dS are rounded to bfloat16 for the products that read them. Keys that a tile has and a
// query does not see must be finite.

#include "attention.h"
#include "written.h"

#define SIDE 64   // rows of a tile
#define CREW 128  // threads of a block
#define ROWS 16   // of a tile, a warp's
#define LOG2E 1.44269504f
#define LN2 0.693147181f

// chunk is where eight elements of a tile's row lie. They change places by their row, so
// that those of eight rows are in different banks.
template <u32 HD>
DEV u32 chunk(u32 row, u32 c) { return row * (HD / 8) + (c ^ (row & 7)); }

// bring begins to copy n rows of x to a tile, the first from element at on and the others
// so far apart. Rows behind them are zeros.
template <u32 HD>
DEV void bring(Shared<lanes16> tile, const src &x, u64 at, u32 apart, u32 n) {
	const u32 row = THREAD / (HD / 8), c = THREAD % (HD / 8), to = chunk<HD>(row, c), step = CREW / (HD / 8);
	u64 from = (at + (u64)row * apart) / 8 + c;
	ROLL for (u32 j = 0; j < SIDE; j += step, from += (u64)step * apart / 8)
		copy_async(tile, to + j * (HD / 8), x, from, row + j < n); // a step is of eight rows, or sixteen
}

// Fragments of a tile, at a row and eight columns' number: a of 16 rows and 16 columns, b
// of two times 8 rows and 16 columns, which are k, and of 16 rows, which are k, and two
// times 8 columns.
template <u32 HD>
DEV void get_a(u32 (&r)[4], Shared<lanes16> tile, u32 row, u32 c) {
	const u32 lane = THREAD % WARP;
	ldmatrix(r, tile, (row + lane % 16) * (HD / 8) + (c ^ (lane / 16 ^ lane % 8)));
}
template <u32 HD>
DEV void get_b(u32 (&r)[4], Shared<lanes16> tile, u32 row, u32 c) {
	const u32 lane = THREAD % WARP;
	ldmatrix(r, tile, (row + lane / 16 * 8 + lane % 8) * (HD / 8) + (c ^ (lane / 8 % 2 ^ lane % 8)));
}
template <u32 HD>
DEV void get_b_down(u32 (&r)[4], Shared<lanes16> tile, u32 row, u32 c) {
	const u32 lane = THREAD % WARP;
	ldmatrix_turned(r, tile, (row + lane % 16) * (HD / 8) + (c ^ (lane / 16 ^ lane % 8)));
}

DEV void multiply(float (&d)[4], float (&e)[4], const u32 (&a)[4], const u32 (&b)[4]) {
	const u32 first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
	mma_bf16_16x8x16(d, a, first);
	mma_bf16_16x8x16(e, a, second);
}

// add_dots adds to d the products of a's 16 columns with those of 8·N rows of a tile.
template <u32 HD, u32 N>
DEV void add_dots(float (&d)[N][4], const u32 (&a)[4], Shared<lanes16> tile, u32 row, u32 c) {
	UNROLL for (u32 j = 0; j < N; j += 2) {
		u32 b[4];
		get_b<HD>(b, tile, row + j * 8, c);
		multiply(d[j], d[j + 1], a, b);
	}
}

// dots is the product of a warp's 16 rows of x with 8·N rows of y.
template <u32 HD, u32 N>
DEV void dots(float (&d)[N][4], Shared<lanes16> x, Shared<lanes16> y, u32 row) {
	UNROLL for (u32 j = 0; j < N; j++)
		UNROLL for (u32 e = 0; e < 4; e++) d[j][e] = 0;
	UNROLL for (u32 c = 0; c < HD / 8; c += 2) {
		u32 a[4];
		get_a<HD>(a, x, THREAD / WARP * ROWS, c);
		add_dots<HD, N>(d, a, y, row, c);
	}
}

// add_weighted adds to d 8·N rows of a tile, each times its weight, which is rounded.
template <u32 HD, u32 N>
DEV void add_weighted(float (&d)[HD / 8][4], const float (&w)[N][4], Shared<lanes16> tile, u32 row) {
	UNROLL for (u32 j = 0; j < N; j += 2) {
		const u32 a[4] = {pack_bf16(w[j][0], w[j][1]), pack_bf16(w[j][2], w[j][3]), pack_bf16(w[j + 1][0], w[j + 1][1]), pack_bf16(w[j + 1][2], w[j + 1][3])};
		UNROLL for (u32 c = 0; c < HD / 8; c += 2) {
			u32 b[4];
			get_b_down<HD>(b, tile, row + j * 8, c);
			multiply(d[c], d[c + 1], a, b);
		}
	}
}

template <u32 HD>
DEV void clear(float (&d)[HD / 8][4]) {
	UNROLL for (u32 c = 0; c < HD / 8; c++)
		UNROLL for (u32 e = 0; e < 4; e++) d[c][e] = 0;
}

// put_tile writes the first n rows of a block's sums, times a factor for each of a lane's
// two rows. They go through a tile of which a warp alone has read its rows. Each warp raises the amax.
template <u32 HD>
DEV void put_tile(const dst &y, u64 at, u32 apart, u32 n, const float (&d)[HD / 8][4], const float (&by)[2], Shared<lanes16> tile, const dst &amax) {
	const u32 lane = THREAD % WARP, row0 = THREAD / WARP * ROWS;
	sync_warp();
	UNROLL for (u32 c = 0; c < HD / 8; c++)
		UNROLL for (u32 e = 0; e < 2; e++)
			tile[chunk<HD>(row0 + lane / 4 + 8 * e, c)].v[lane % 4] = pack_bf16(d[c][2 * e] * by[e], d[c][2 * e + 1] * by[e]);
	sync_warp();
	UNROLL for (u32 j = 0; j < ROWS * HD / 8; j += WARP) {
		const u32 row = row0 + (j + lane) / (HD / 8), c = (j + lane) % (HD / 8);
		if (row < n) store<lanes16>(y, (at + (u64)row * apart) / 8 + c, tile[chunk<HD>(row, c)]);
	}
	if (amax.none()) return;
	u32 most = 0; // of the tile once more: in the loop above some kernels have too few registers
	ROLL for (u32 j = lane; j < ROWS * HD / 8; j += WARP) {
		const u32 row = row0 + j / (HD / 8);
		const lanes16 eight = tile[chunk<HD>(row, j % (HD / 8))];
		UNROLL for (u32 k = 0; k < 4; k++)
			if (row < n) most = max_of(most, max_of(eight.v[k] << 16 & 0x7FFFFFFF, eight.v[k] & 0x7FFF0000));
	}
	raise_warp(amax, magnitude(as_float(most)));
}

// Lanes 4g to 4g+3 have a row together.
DEV float row_max(float v) {
	UNROLL for (u32 m = 1; m < 4; m *= 2) {
		const float w = shuffle_xor(v, m);
		v = w > v ? w : v;
	}
	return v;
}
DEV float row_sum(float v) {
	UNROLL for (u32 m = 1; m < 4; m *= 2) v += shuffle_xor(v, m);
	return v;
}

// queries_of is a block's tile: n queries of a head, the last of which sees most keys. A
// lane has two of them, which see so many; one that is not there sees none.
struct queries_of {
	u32 b, head, group, first, n, most, least;
	i32 sees[2];
};
DEV queries_of queries_at(const shape &a, const src &seen, u32 work, u32 heads) {
	const u32 tiles = (a.sq + SIDE - 1) / SIDE;
	queries_of t;
	t.first = (tiles - 1 - work / heads) * SIDE; // those with most keys first
	t.n = min_of(a.sq - t.first, (u32)SIDE);
	t.b = work % heads / a.h, t.head = work % heads % a.h, t.group = t.head / (a.h / a.kv);
	const i32 most = seen_by(seen, t.first + t.n - 1, a.sk), least = seen_by(seen, t.first, a.sk);
	t.most = most < 0 ? 0 : most, t.least = least < 0 ? 0 : least;
	UNROLL for (u32 e = 0; e < 2; e++) {
		const u32 row = THREAD / WARP * ROWS + THREAD % WARP / 4 + 8 * e;
		t.sees[e] = row < t.n ? seen_by(seen, t.first + row, a.sk) : 0;
	}
	return t;
}

template <u32 HD>
DEV void attend(Shared<lanes16> memory, const dst &o, const dst &lse, const dst &amax, const src &q, const src &k, const src &v, const src &seen, const shape &a) {
	const u32 size = SIDE * HD / 8; // of a tile
	const auto queries = memory + 0, keys = memory + size, values = memory + 3 * size; // two tiles of the last ones
	const float scale = LOG2E / sqrtf((float)HD);
	const u32 heads = (u32)(lse.n() / a.sq), apart = a.kv * HD;
	for (u32 work = BLOCK; work < heads * ((a.sq + SIDE - 1) / SIDE); work += BLOCKS) {
		const queries_of t = queries_at(a, seen, work, heads);
		const u64 at = query_at(a, t.b, t.first, t.head);
		float sums[HD / 8][4], most[2] = {-infinity(), -infinity()}, sum[2] = {0, 0};
		u32 rows[HD / 16][4];
		clear<HD>(sums);
		const auto get = [&](u32 j) {
			const u64 from = key_at(a, t.b, j, t.group);
			bring<HD>(keys + j / SIDE % 2 * size, k, from, apart, a.sk - j);
			bring<HD>(values + j / SIDE % 2 * size, v, from, apart, a.sk - j);
		};
		SYNC(); // the tile before is written
		bring<HD>(queries, q, at, a.h * HD, t.n);
		if (t.most > 0) get(0);
		ROLL for (u32 j0 = 0; j0 < t.most; j0 += SIDE) {
			copies_wait();
			SYNC(); // and the tiles before are read
			if (j0 + SIDE < t.most) get(j0 + SIDE);
			if (j0 == 0)
				UNROLL for (u32 c = 0; c < HD / 16; c++) get_a<HD>(rows[c], queries, THREAD / WARP * ROWS, 2 * c);
			const u32 in = j0 / SIDE % 2 * size;
			float s[SIDE / 8][4];
			UNROLL for (u32 j = 0; j < SIDE / 8; j++)
				UNROLL for (u32 e = 0; e < 4; e++) s[j][e] = 0;
			UNROLL for (u32 c = 0; c < HD / 16; c++) add_dots<HD, SIDE / 8>(s, rows[c], keys + in, 0, 2 * c);
			if (j0 + SIDE > t.least)
				UNROLL for (u32 j = 0; j < SIDE / 8; j++)
					UNROLL for (u32 e = 0; e < 4; e++)
						if ((i32)(j0 + j * 8 + THREAD % 4 * 2 + e % 2) >= t.sees[e / 2]) s[j][e] = -infinity();
			UNROLL for (u32 e = 0; e < 2; e++) {
				float top = s[0][2 * e];
				UNROLL for (u32 j = 0; j < SIDE / 4; j++) top = s[j / 2][2 * e + j % 2] > top ? s[j / 2][2 * e + j % 2] : top;
				top = row_max(top) * scale;
				const float next = top > most[e] ? top : most[e], from = next == -infinity() ? 0 : next;
				const float shrink = most[e] == next ? 1 : exp2f(most[e] - from);
				most[e] = next, sum[e] *= shrink;
				UNROLL for (u32 j = 0; j < SIDE / 4; j++) {
					float &p = s[j / 2][2 * e + j % 2];
					p = exp2f(p * scale - from);
					sum[e] += p;
				}
				UNROLL for (u32 c = 0; c < HD / 8; c++) sums[c][2 * e] *= shrink, sums[c][2 * e + 1] *= shrink;
			}
			add_weighted<HD, SIDE / 8>(sums, s, values + in, 0);
		}
		copies_wait();
		SYNC(); // where there is no key others may still bring what put_tile writes over
		float by[2];
		UNROLL for (u32 e = 0; e < 2; e++) {
			sum[e] = row_sum(sum[e]);
			by[e] = t.sees[e] > 0 ? 1 / sum[e] : t.sees[e] == 0 ? 0 : nan32();
			const u32 row = THREAD / WARP * ROWS + THREAD % WARP / 4 + 8 * e;
			if (row < t.n && THREAD % 4 == 0)
				store<float>(lse, ((u64)t.b * a.h + t.head) * a.sq + t.first + row, t.sees[e] > 0 ? (most[e] + log2f(sum[e])) * LN2 : t.sees[e] == 0 ? -infinity() : nan32());
		}
		put_tile<HD>(o, at, a.h * HD, t.n, sums, by, queries, amax);
	}
}

KERNEL(CREW, flash64, dst o, dst lse, dst amax, src q, src k, src v, src seen, u32 sq, u32 sk, u32 h, u32 kv) {
	DYNAMIC(lanes16, memory);
	attend<64>(memory, o, lse, amax, q, k, v, seen, {sq, sk, h, kv, 64});
}
KERNEL(CREW, flash128, dst o, dst lse, dst amax, src q, src k, src v, src seen, u32 sq, u32 sk, u32 h, u32 kv) {
	DYNAMIC(lanes16, memory);
	attend<128>(memory, o, lse, amax, q, k, v, seen, {sq, sk, h, kv, 128});
}

template <u32 HD>
DEV void grad_q(Shared<lanes16> memory, const dst &dq, const src &grad, const src &q, const src &k, const src &v, const src &lse, const src &delta, const src &seen, const shape &a) {
	const u32 size = SIDE * HD / 8, part = SIDE / 2;
	const auto queries = memory + 0, grads = memory + size, keys = memory + 2 * size, values = memory + 4 * size;
	const float scale = 1 / sqrtf((float)HD);
	const u32 heads = (u32)(lse.n() / a.sq), apart = a.kv * HD;
	for (u32 work = BLOCK; work < heads * ((a.sq + SIDE - 1) / SIDE); work += BLOCKS) {
		const queries_of t = queries_at(a, seen, work, heads);
		const u64 at = query_at(a, t.b, t.first, t.head);
		float sums[HD / 8][4], l[2], d[2];
		clear<HD>(sums);
		UNROLL for (u32 e = 0; e < 2; e++) {
			const u32 row = THREAD / WARP * ROWS + THREAD % WARP / 4 + 8 * e;
			const u64 stat = ((u64)t.b * a.h + t.head) * a.sq + t.first + row;
			l[e] = row < t.n ? load<float>(lse, stat) * LOG2E : 0, d[e] = row < t.n ? load<float>(delta, stat) : 0;
		}
		const auto get = [&](u32 j) {
			const u64 from = key_at(a, t.b, j, t.group);
			bring<HD>(keys + j / SIDE % 2 * size, k, from, apart, a.sk - j);
			bring<HD>(values + j / SIDE % 2 * size, v, from, apart, a.sk - j);
		};
		SYNC();
		bring<HD>(queries, q, at, a.h * HD, t.n);
		bring<HD>(grads, grad, at, a.h * HD, t.n);
		if (t.most > 0) get(0);
		ROLL for (u32 j0 = 0; j0 < t.most; j0 += SIDE) {
			copies_wait();
			SYNC();
			if (j0 + SIDE < t.most) get(j0 + SIDE);
			const u32 in = j0 / SIDE % 2 * size;
			UNROLL for (u32 j1 = 0; j1 < SIDE; j1 += part) {
				float p[part / 8][4], ds[part / 8][4];
				dots<HD, part / 8>(p, queries, keys + in, j1);
				dots<HD, part / 8>(ds, grads, values + in, j1);
				UNROLL for (u32 j = 0; j < part / 8; j++)
					UNROLL for (u32 e = 0; e < 4; e++) {
						const bool sees = (i32)(j0 + j1 + j * 8 + THREAD % 4 * 2 + e % 2) < t.sees[e / 2];
						ds[j][e] = sees ? exp2f(p[j][e] * (scale * LOG2E) - l[e / 2]) * (ds[j][e] - d[e / 2]) : 0;
					}
				add_weighted<HD, part / 8>(sums, ds, keys + in, j1);
			}
		}
		copies_wait();
		SYNC(); // as above
		put_tile<HD>(dq, at, a.h * HD, t.n, sums, {t.sees[0] < 0 ? nan32() : scale, t.sees[1] < 0 ? nan32() : scale}, queries, {});
	}
}

KERNEL(CREW, flash_grad_q64, dst dq, src grad, src q, src k, src v, src lse, src delta, src seen, u32 sq, u32 sk, u32 h, u32 kv) {
	DYNAMIC(lanes16, memory);
	grad_q<64>(memory, dq, grad, q, k, v, lse, delta, seen, {sq, sk, h, kv, 64});
}
KERNEL(CREW, flash_grad_q128, dst dq, src grad, src q, src k, src v, src lse, src delta, src seen, u32 sq, u32 sk, u32 h, u32 kv) {
	DYNAMIC(lanes16, memory);
	grad_q<128>(memory, dq, grad, q, k, v, lse, delta, seen, {sq, sk, h, kv, 128});
}

// stat is what a block has of a query beside its rows.
struct stat {
	float lse, delta;
	i32 sees;
};

// grad_kv has the transposes of scores, a row a key. It goes over the queries that see
// one of its keys, of all heads of the group, and over half a tile at a time.
template <u32 HD>
DEV void grad_kv(Shared<lanes16> memory, Shared<stat> stats, const dst &dk, const dst &dv, const dst &amax, const src &grad, const src &q, const src &k, const src &v, const src &lse, const src &delta, const src &seen, const shape &a) {
	const u32 size = SIDE * HD / 8, part = HD == 64 ? SIDE : 16;
	const auto keys = memory + 0, values = memory + size, queries = memory + 2 * size, grads = memory + 4 * size;
	const float scale = 1 / sqrtf((float)HD);
	const u32 groups = (u32)(k.n() / a.sk / HD); // of all sequences
	for (u32 work = BLOCK; work < groups * ((a.sk + SIDE - 1) / SIDE); work += BLOCKS) {
		const u32 j0 = work / groups * SIDE, n = min_of(a.sk - j0, (u32)SIDE);
		const u32 b = work % groups / a.kv, group = work % groups % a.kv, apart = a.kv * HD;
		const u64 at = key_at(a, b, j0, group);
		const u32 each = a.h / a.kv, first = first_to_see(seen, j0, a.sq, a.sk) / SIDE * SIDE;
		const u32 tiles = (a.sq - first + SIDE - 1) / SIDE, steps = tiles * each;
		const bool fault = a.sq > 0 && seen_by(seen, 0, a.sk) < 0;
		float sumk[HD / 8][4], sumv[HD / 8][4];
		clear<HD>(sumk);
		clear<HD>(sumv);
		const auto get = [&](u32 step) {
			const u32 i0 = first + step % tiles * SIDE, head = group * each + step / tiles;
			const u64 from = query_at(a, b, i0, head);
			bring<HD>(queries + step % 2 * size, q, from, a.h * HD, a.sq - i0);
			bring<HD>(grads + step % 2 * size, grad, from, a.h * HD, a.sq - i0);
			stat s = {0, 0, 0};
			if (THREAD < SIDE && i0 + THREAD < a.sq) {
				const u64 row = ((u64)b * a.h + head) * a.sq + i0 + THREAD;
				s = {load<float>(lse, row) * LOG2E, load<float>(delta, row), seen_by(seen, i0 + THREAD, a.sk)};
			}
			return s;
		};
		SYNC();
		bring<HD>(keys, k, at, apart, n);
		bring<HD>(values, v, at, apart, n);
		if (steps > 0) {
			const stat s = get(0);
			if (THREAD < SIDE) stats[THREAD] = s;
		}
		ROLL for (u32 step = 0; step < steps; step++) {
			copies_wait();
			SYNC();
			stat next = {0, 0, 0};
			if (step + 1 < steps) next = get(step + 1);
			const u32 in = step % 2;
			ROLL for (u32 i0 = 0; i0 < SIDE; i0 += part) {
				float p[part / 8][4], ds[part / 8][4];
				dots<HD, part / 8>(p, keys, queries + in * size, i0);
				dots<HD, part / 8>(ds, values, grads + in * size, i0);
				UNROLL for (u32 i = 0; i < part / 8; i++)
					UNROLL for (u32 e = 0; e < 4; e++) {
						const stat s = stats[in * SIDE + i0 + i * 8 + THREAD % 4 * 2 + e % 2];
						const bool sees = (i32)(j0 + THREAD / WARP * ROWS + THREAD % WARP / 4 + e / 2 * 8) < s.sees;
						p[i][e] = sees ? exp2f(p[i][e] * (scale * LOG2E) - s.lse) : 0;
						ds[i][e] = sees ? p[i][e] * (ds[i][e] - s.delta) : 0;
					}
				add_weighted<HD, part / 8>(sumv, p, grads + in * size, i0);
				add_weighted<HD, part / 8>(sumk, ds, queries + in * size, i0);
			}
			if (THREAD < SIDE) stats[(1 - in) * SIDE + THREAD] = next;
		}
		copies_wait();
		SYNC(); // as above, where there is no query
		const float by = fault ? nan32() : scale, once = fault ? nan32() : 1;
		put_tile<HD>(dk, at, apart, n, sumk, {by, by}, keys, {});
		put_tile<HD>(dv, at, apart, n, sumv, {once, once}, values, amax);
	}
}

KERNEL(CREW, flash_grad_kv64, dst dk, dst dv, dst amax, src grad, src q, src k, src v, src lse, src delta, src seen, u32 sq, u32 sk, u32 h, u32 kv) {
	DYNAMIC(lanes16, memory);
	SHARED(stat, stats, 2 * SIDE);
	grad_kv<64>(memory, stats, dk, dv, amax, grad, q, k, v, lse, delta, seen, {sq, sk, h, kv, 64});
}
KERNEL(CREW, flash_grad_kv128, dst dk, dst dv, dst amax, src grad, src q, src k, src v, src lse, src delta, src seen, u32 sq, u32 sk, u32 h, u32 kv) {
	DYNAMIC(lanes16, memory);
	SHARED(stat, stats, 2 * SIDE);
	grad_kv<128>(memory, stats, dk, dv, amax, grad, q, k, v, lse, delta, seen, {sq, sk, h, kv, 128});
}
