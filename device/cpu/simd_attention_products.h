// SPDX-License-Identifier: Apache-2.0

// The products of attention in float32, and which keys the mask leaves out of them.
#ifndef OCTET_SIMD_ATTENTION_PRODUCTS_H
#define OCTET_SIMD_ATTENTION_PRODUCTS_H

#include "simd_attention_tile.h"

// A block of sums in registers is WIDE vectors at most, and ROWS rows or as many as rows_by has for its width: what
// the registers hold. The wider, the fewer loads a multiplication takes: 10 for 24 of four vectors.
enum { WIDE = W == 16 ? 4 : 2, ROWS = 4 };
INLINE int rows_by(int cols) { return W == 8 ? (cols == 1 ? 12 : 6) : cols == 1 ? 16 : cols == 2 ? 12 : cols == 3 ? 8 : 6; }

// A mask is how many keys of a tile each query of another sees; a later query
// sees no fewer.
struct mask {
	long queries, vectors;
	int whole;           // all see all keys, and seen is not set
	long most[TILE / W]; // keys that some query of a vector sees
	float seen[TILE];
};

// mask_of is the mask of queries that see so many of all keys, and of the keys
// from t on.
static struct mask mask_of(const int32_t *seen, long queries, long t, long keys)
{
	struct mask m = {.queries = queries, .vectors = (queries + W - 1) / W, .whole = seen[0] - t >= keys};
	for (long c = 0; c < queries; c += W)
		m.most[c / W] = min_l(max_l(seen[min_l(c + W, queries) - 1] - t, 0), keys);
	for (long i = 0; i < queries && !m.whole; i++)
		m.seen[i] = min_l(max_l(seen[i] - t, 0), keys);
	return m;
}

// mm_block is rows by cols·W columns of out (+)= A · B, summed over n;
// element (r,l) of A is a[r·row + l·step].
INLINE void mm_block(const int rows, const int cols, float *out, long ldo, const float *a, long row, long step, const float *b, long ldb, long n, int add)
{
	vf acc[16][WIDE];
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int c = 0; c < cols; c++)
			acc[r][c] = add ? load_f32(out + r * ldo + c * W) : set1(0);
	for (long l = 0; l < n; l++) {
		vf vb[WIDE];
		UNROLL for (int c = 0; c < cols; c++)
			vb[c] = load_f32(b + l * ldb + c * W);
		UNROLL for (int r = 0; r < rows; r++) {
			vf va = set1(a[r * row + l * step]);
			UNROLL for (int c = 0; c < cols; c++)
				acc[r][c] = vfma(va, vb[c], acc[r][c]);
		}
	}
	UNROLL for (int r = 0; r < rows; r++)
		UNROLL for (int c = 0; c < cols; c++)
			store_f32(out + r * ldo + c * W, acc[r][c]);
}

// mm_rows is blocks below each other, of rows that are a multiple of ROWS.
INLINE void mm_rows(struct ahead *ahead, const int cols, float *out, long ldo, long rows, const float *a, long row, long step, const float *b, long ldb, long n, int add)
{
	const int most = rows_by(cols);
	for (; rows % most; rows -= ROWS, out += ROWS * ldo, a += ROWS * row)
		mm_block(ROWS, cols, out, ldo, a, row, step, b, ldb, n, add);
	for (; rows > 0; rows -= most, out += most * ldo, a += most * row) {
		ask(ahead);
		mm_block(most, cols, out, ldo, a, row, step, b, ldb, n, add);
	}
}

// mm is blocks beside each other.
INLINE void mm(struct ahead *ahead, float *out, long ldo, long rows, long cols, const float *a, long row, long step, const float *b, long ldb, long n, int add)
{
	for (; cols >= WIDE; cols -= WIDE, out += WIDE * W, b += WIDE * W)
		mm_rows(ahead, WIDE, out, ldo, rows, a, row, step, b, ldb, n, add);
	if (WIDE > 3 && cols == 3)
		mm_rows(ahead, 3, out, ldo, rows, a, row, step, b, ldb, n, add);
	else if (WIDE > 2 && cols == 2)
		mm_rows(ahead, 2, out, ldo, rows, a, row, step, b, ldb, n, add);
	else if (cols == 1)
		mm_rows(ahead, 1, out, ldo, rows, a, row, step, b, ldb, n, add);
}

// The three products of attention leave out what the mask makes 0: of keys that no query of a vector sees
// they take the vectors behind it.

// mm_scores is S [keys,TILE] = A [keys,hd] · B [hd,TILE].
static void mm_scores(struct ahead *ahead, float *s, const float *a, long hdp, const float *b, long hd, const struct mask *m)
{
	for (long c = 0, k = 0, end; c < m->vectors; c++, k = end) {
		end = max_l(k, up_to(m->most[c], ROWS));
		mm(ahead, s + k * TILE + c * W, TILE, end - k, m->vectors - c, a + k * hdp, hdp, 1, b + c * W, TILE, hd, 0);
	}
}

// mm_queries is O [hdp,TILE] += Aᵀ · P for A [keys,hdp], P [keys,TILE].
static void mm_queries(struct ahead *ahead, float *o, const float *a, long hdp, const float *p, const struct mask *m)
{
	for (long c = 0, k = 0; c < m->vectors; k = m->most[c++])
		if (m->most[c] > k)
			mm(ahead, o + c * W, TILE, hdp, m->vectors - c, a + k * hdp, 1, hdp, p + k * TILE + c * W, TILE, m->most[c] - k, 1);
}

// mm_keys is G [keys,hdp] += P [keys,TILE] · B for B [queries,hdp].
static void mm_keys(struct ahead *ahead, float *g, const float *p, const float *b, long hdp, const struct mask *m)
{
	for (long c = 0, k = 0, end; c < m->vectors; c++, k = end) {
		end = max_l(k, up_to(m->most[c], ROWS));
		mm(ahead, g + k * hdp, hdp, end - k, hdp / W, p + k * TILE + c * W, TILE, 1, b + c * W * hdp, hdp, m->queries - c * W, 1);
	}
}

#endif
