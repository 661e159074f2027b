// SPDX-License-Identifier: Apache-2.0

// The C half of the kernels: one table of functions for each instruction set,
// with the arguments of the Go functions of the same name, which say what they
// compute. The sources are simd_*.h, compiled once by simd_avx2.c and once by
// simd_avx512.c.
#ifndef OCTET_SIMD_H
#define OCTET_SIMD_H

#include <stdint.h>

// Element types, with the values of dtype.Type.
enum { SIMD_F32 = 1, SIMD_BF16 = 2, SIMD_E4M3 = 3, SIMD_E5M2 = 4 };

// Queries, and keys, of a tile of attention; what a head's width is padded to
// at most.
enum { ATTENTION_TILE = 64, ATTENTION_PAD = 16 };

// vec is n elements in a row; p is NULL for a tensor left out.
struct vec {
	void *p;
	int64_t n;
	int32_t type;
};

struct attention {
	int64_t b, sq, sk, h, kv, hd;
	struct vec o, q, k, v;
	struct vec dq, dk, dv, d_o; // backward only
	float *lse;
	const int32_t *seen;
};

// loss_row is lossRow of loss.go.
struct loss_row {
	double sum, loss;
	float max, target;
};

struct adamw {
	float grad, decay, l2, m, v, g2, root, eps, step;
};

struct simd_table {
	void (*convert)(struct vec dst, struct vec src);
	void (*add)(struct vec dst, struct vec a, struct vec b);
	uint32_t (*amax)(struct vec x);
	void (*cast)(struct vec dst, struct vec src, float scale);
	void (*cast_t)(struct vec dst, struct vec dst_t, struct vec src, int64_t rows, int64_t cols, int64_t lo, int64_t hi, float scale);
	void (*widen)(struct vec dst, struct vec src, const float *values);
	void (*transpose)(void *dst, const void *src, int64_t rows, int64_t cols, int64_t lo, int64_t hi, int size);
	void (*add_bias)(struct vec y, struct vec bias);
	void (*sum_rows)(float *dst, int64_t cols, struct vec x);
	void (*rms_norm)(struct vec y, struct vec sum, float *rstd, int64_t rows, struct vec x, struct vec residual, struct vec w, float eps);
	void (*rms_norm_grad)(struct vec dx, float *dw, struct vec dy, struct vec s, const float *rstd, int64_t rows, struct vec w, struct vec add);
	void (*rope)(struct vec x, const float *angles, const int32_t *pos, int64_t seq, int64_t heads, int64_t hd, int64_t first, int inverse);
	void (*attend)(struct attention a, int64_t b, int64_t kv, float *mem);
	void (*attend_grad)(struct attention a, int64_t b, int64_t kv, float *mem);
	void (*swiglu)(struct vec h, struct vec gate, struct vec up);
	void (*swiglu_grad)(struct vec dgate, struct vec dup, struct vec dh, struct vec gate, struct vec up);
	void (*cross_entropy)(struct loss_row *rows, int64_t n, struct vec logits, const int32_t *targets, float scale);
	void (*loss_stats)(struct loss_row *rows, int64_t n, struct vec logits, const int32_t *targets, int64_t offset);
	void (*loss_grad)(struct loss_row *rows, int64_t n, struct vec logits, const int32_t *targets, int64_t offset, float scale);
	double (*sum_squares)(struct vec x);
	void (*adamw)(struct vec p, struct vec g, struct vec m, struct vec v, struct adamw c);
};

extern const struct simd_table simd_avx2, simd_avx512;

// Go cannot call a function pointer, so each has a function that does.
#define CALL(name, ret, params, args) \
	static inline ret call_##name params { return t->name args; }
#define TABLE const struct simd_table *t

CALL(convert, void, (TABLE, struct vec dst, struct vec src), (dst, src))
CALL(add, void, (TABLE, struct vec dst, struct vec a, struct vec b), (dst, a, b))
CALL(amax, uint32_t, (TABLE, struct vec x), (x))
CALL(cast, void, (TABLE, struct vec dst, struct vec src, float scale), (dst, src, scale))
CALL(cast_t, void, (TABLE, struct vec dst, struct vec dst_t, struct vec src, int64_t rows, int64_t cols, int64_t lo, int64_t hi, float scale), (dst, dst_t, src, rows, cols, lo, hi, scale))
CALL(widen, void, (TABLE, struct vec dst, struct vec src, const float *values), (dst, src, values))
CALL(transpose, void, (TABLE, void *dst, const void *src, int64_t rows, int64_t cols, int64_t lo, int64_t hi, int size), (dst, src, rows, cols, lo, hi, size))
CALL(add_bias, void, (TABLE, struct vec y, struct vec bias), (y, bias))
CALL(sum_rows, void, (TABLE, float *dst, int64_t cols, struct vec x), (dst, cols, x))
CALL(rms_norm, void, (TABLE, struct vec y, struct vec sum, float *rstd, int64_t rows, struct vec x, struct vec residual, struct vec w, float eps), (y, sum, rstd, rows, x, residual, w, eps))
CALL(rms_norm_grad, void, (TABLE, struct vec dx, float *dw, struct vec dy, struct vec s, const float *rstd, int64_t rows, struct vec w, struct vec add), (dx, dw, dy, s, rstd, rows, w, add))
CALL(rope, void, (TABLE, struct vec x, const float *angles, const int32_t *pos, int64_t seq, int64_t heads, int64_t hd, int64_t first, int inverse), (x, angles, pos, seq, heads, hd, first, inverse))
CALL(attend, void, (TABLE, struct attention a, int64_t b, int64_t kv, float *mem), (a, b, kv, mem))
CALL(attend_grad, void, (TABLE, struct attention a, int64_t b, int64_t kv, float *mem), (a, b, kv, mem))
CALL(swiglu, void, (TABLE, struct vec h, struct vec gate, struct vec up), (h, gate, up))
CALL(swiglu_grad, void, (TABLE, struct vec dgate, struct vec dup, struct vec dh, struct vec gate, struct vec up), (dgate, dup, dh, gate, up))
CALL(cross_entropy, void, (TABLE, struct loss_row *rows, int64_t n, struct vec logits, const int32_t *targets, float scale), (rows, n, logits, targets, scale))
CALL(loss_stats, void, (TABLE, struct loss_row *rows, int64_t n, struct vec logits, const int32_t *targets, int64_t offset), (rows, n, logits, targets, offset))
CALL(loss_grad, void, (TABLE, struct loss_row *rows, int64_t n, struct vec logits, const int32_t *targets, int64_t offset, float scale), (rows, n, logits, targets, offset, scale))
CALL(sum_squares, double, (TABLE, struct vec x), (x))
CALL(adamw, void, (TABLE, struct vec p, struct vec g, struct vec m, struct vec v, struct adamw c), (p, g, m, v, c))

#undef CALL
#undef TABLE

#endif
