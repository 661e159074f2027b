// SPDX-License-Identifier: Apache-2.0

// What attention in float32 and in bf16 share: sizes, and how what they computed
// leaves.
#ifndef OCTET_SIMD_ATTENTION_TILE_H
#define OCTET_SIMD_ATTENTION_TILE_H

// TILE queries meet TILE keys. AHEAD rows of a head are asked for before they are read.
enum { TILE = ATTENTION_TILE, AHEAD = 32 };

// BAND is the queries of one block where they are its columns.
enum { BAND = (W == 16 ? 2 : 1) * W };

INLINE long up_to(long x, long multiple) { return (x + multiple - 1) / multiple * multiple; }

// Rows of heads that will be read soon, or written, where a row is little more than a line of memory and the next is
// far: a head of SMALL at most. Longer rows the processor finds by itself, and asking costs more than it brings.
enum { SMALL = 32, LINE = 64 };

struct ahead {
	const char *p[8];
	long ld[8]; // bytes from a row to the next
	long n, rows;
};

// add_ahead adds rows of hd, unless they do not begin a line: then the head before has brought it.
static void add_ahead(struct ahead *x, struct vec of, long at, long ld, long hd)
{
	const long size = size_of(of.type);
	if (at * size % LINE >= hd * size)
		return;
	x->p[x->n] = (const char *)of.p + at * size;
	x->ld[x->n++] = ld * size;
}

// ahead_of is what forward reads and writes, so many rows: queries from element q of Q on, keys from element k of K on.
static struct ahead ahead_of(const struct attention *a, long q, long k, long rows)
{
	const long hd = a->hd, ldq = a->h * hd, ldk = a->kv * hd;
	struct ahead x = {.rows = hd > SMALL ? 0 : rows};
	add_ahead(&x, a->q, q, ldq, hd);
	add_ahead(&x, a->o, q, ldq, hd);
	add_ahead(&x, a->k, k, ldk, hd);
	add_ahead(&x, a->v, k, ldk, hd);
	return x;
}

// grad_ahead_of is what backward does, which writes keys' gradients from element dk on.
static inline struct ahead grad_ahead_of(const struct attention *a, long q, long k, long dk, long rows)
{
	const long hd = a->hd, ldq = a->h * hd, ldk = a->kv * hd;
	struct ahead x = ahead_of(a, q, k, rows);
	add_ahead(&x, a->d_o, q, ldq, hd);
	add_ahead(&x, a->dq, q, ldq, hd);
	add_ahead(&x, a->dk, dk, ldk, hd);
	add_ahead(&x, a->dv, dk, ldk, hd);
	return x;
}

// ask asks for one row of each. It stands between other work, because memory answers only so many questions at once.
static inline void ask(struct ahead *x)
{
	if (x->rows <= 0)
		return;
	x->rows--;
	for (long i = 0; i < x->n; i++) {
		__builtin_prefetch(x->p[i], 0, 2);
		x->p[i] += x->ld[i];
	}
}

// write_head rounds n rows of f32, times scale, to a head of x, and raises amax to theirs, if there is one: what is
// largest stays that when it is rounded.
static void write_head(struct vec x, long at, long ld, long n, long hd, const float *src, long hdp, float scale, uint32_t *amax)
{
	vi most = {0};
	for (long r = 0; r < n; r++)
		EACH(c, k, hd, {
			const vf v = load(floats(src), r * hdp + c, k) * set1(scale);
			store(x, at + r * ld + c, k, v);
			most = max_i(most, (vi)v & 0x7FFFFFFF);
		});
	if (!amax)
		return;
	const vi bits = set1_i(largest(most));
	const uint32_t a = x.type == BF16 ? to_bf16((vf)bits)[0] << 16 : bits[0];
	*amax = a > *amax ? a : *amax;
}

// amax_of is where the amax of what a key head writes goes; NULL: nowhere.
INLINE uint32_t *amax_of(const struct attention *a, long b, long kv) { return a->amax ? a->amax + b * a->kv + kv : NULL; }

// transpose_tile turns src [rows,cols] into dst [cols,rows], times scale; both sizes
// are multiples of 8.
static void transpose_tile(float *dst, const float *src, long rows, long cols, float scale)
{
	__m256 s = _mm256_set1_ps(scale);
	for (long i = 0; i < rows; i += 8)
		for (long j = 0; j < cols; j += 8) {
			__m256 r[8];
			for (int k = 0; k < 8; k++)
				r[k] = _mm256_loadu_ps(src + (i + k) * cols + j) * s;
			transpose8(r);
			for (int k = 0; k < 8; k++)
				_mm256_storeu_ps(dst + (j + k) * rows + i, r[k]);
		}
}

// HIDDEN is the score of a key that a query does not see: e^HIDDEN is 0.
#define HIDDEN (-1e30f)

// masked is s where the lane's query sees the key.
INLINE vf masked(vf s, vf seen, long key)
{
	return (vf)select_i((vi)(seen > set1(key)), (vi)s, (vi)set1(HIDDEN));
}

// write_queries divides Oᵀ [hdp,TILE], of queries from lo on, by the sums of P and writes it to o, and
// the logarithms of the sums to lse; rows is room for O. most is in units of log2.
static inline void write_queries(struct attention a, long b, long h, long lo, long queries, float *rows, float *out, long hdp, const float *most, float *total)
{
	for (long r = 0; r < hdp; r++)
		for (long c = 0; c < TILE; c += W)
			store_f32(out + r * TILE + c, load_f32(out + r * TILE + c) / load_f32(total + c));
	transpose_tile(rows, out, hdp, TILE, 1);
	for (long i = 0; i < queries && a.seen[lo + i] == 0; i++) {
		memset(rows + i * hdp, 0, 4 * hdp);
		total[i] = 0; // whose logarithm is -infinity
	}
	write_head(a.o, ((b * a.sq + lo) * a.h + h) * a.hd, a.h * a.hd, queries, a.hd, rows, hdp, 1, amax_of(&a, b, h / (a.h / a.kv)));
	for (long i = 0; i < queries; i++)
		a.lse[(b * a.h + h) * a.sq + lo + i] = most[i] * 0.693147181f + logf(total[i]);
}

#endif
