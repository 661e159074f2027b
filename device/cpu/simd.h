// SPDX-License-Identifier: Apache-2.0

// The C half of the kernels: one table of functions for each instruction set,
// with the arguments of the Go functions of the same name, which say what they
// compute. The sources are simd_*.h, compiled once by each of simd_avx2.c,
// simd_avx512.c and simd_avx512bf16.c.
#ifndef OCTET_SIMD_H
#define OCTET_SIMD_H

#include "types.h"

enum { IGNORED = -100 }; // device.Ignored

// Activations, with the values of device.Activation.
enum { RELU = 0, GELU = 1, GELU_TANH = 2 };

// Queries, and keys, of a tile of attention; what a head's width is padded to
// at most.
enum { ATTENTION_TILE = 64, ATTENTION_PAD = 16 };

// vec is n elements in a row; p is NULL for a tensor left out.
struct vec {
	void *p;
	int64_t n;
	int32_t type;
};

// factors are what a matrix is multiplied by: element (r,c) by p[r·row + c·col],
// where row and col are 0 or 1. NULL is 1.
struct factors {
	const float *p;
	int64_t row, col;
};

struct attention {
	int64_t b, sq, sk, h, kv, hd;
	struct vec o, q, k, v;
	struct vec dq, dk, dv, d_o; // backward only
	float *lse;
	const int32_t *seen;
	uint32_t *amax;
};

// loss_row is lossRow of loss.go.
struct loss_row {
	double sum, loss;
	float max, target;
};

// adamw is adamWCoef of optim.go.
struct adamw {
	float grad, decay, l2, m, v, g2, root, eps, step;
};

// KERNELS is X(result, name, (parameters), (their names)) of every kernel.
#define KERNELS(X) \
	X(void, convert, (struct vec dst, struct vec src), (dst, src)) \
	X(void, add, (struct vec dst, struct vec a, struct vec b), (dst, a, b)) \
	X(uint32_t, amax, (struct vec x), (x)) \
	X(void, cast, (struct vec dst, struct vec src, float scale), (dst, src, scale)) \
	X(void, cast_matrix, (struct vec dst, struct vec dst_t, struct vec src, int64_t rows, int64_t cols, int64_t lo, int64_t hi, struct factors fold, struct factors scale), (dst, dst_t, src, rows, cols, lo, hi, fold, scale)) \
	X(void, amax_rows, (uint32_t *dst, int64_t rows, struct vec x, struct factors fold), (dst, rows, x, fold)) \
	X(void, amax_columns, (uint32_t *dst, int64_t cols, struct vec x, struct factors fold), (dst, cols, x, fold)) \
	X(void, widen, (struct vec dst, struct vec src, const float *values), (dst, src, values)) \
	X(void, transpose, (void *dst, const void *src, int64_t rows, int64_t cols, int64_t lo, int64_t hi, int size), (dst, src, rows, cols, lo, hi, size)) \
	X(void, add_bias, (struct vec y, struct vec bias), (y, bias)) \
	X(void, sum_rows, (float *dst, int64_t cols, struct vec x), (dst, cols, x)) \
	X(void, rms_norm, (struct vec y, struct vec sum, float *rstd, int64_t rows, struct vec x, struct vec residual, struct vec w, float eps, uint32_t *most), (y, sum, rstd, rows, x, residual, w, eps, most)) \
	X(void, rms_norm_grad, (struct vec dx, float *dw, struct vec dy, struct vec s, const float *rstd, int64_t rows, struct vec w, struct vec add, uint32_t *most), (dx, dw, dy, s, rstd, rows, w, add, most)) \
	X(void, rope, (struct vec x, const float *angles, const int32_t *pos, int64_t seq, int64_t heads, int64_t hd, int64_t first, int inverse, uint32_t *most), (x, angles, pos, seq, heads, hd, first, inverse, most)) \
	X(void, attend, (struct attention a, int64_t b, int64_t kv, float *mem), (a, b, kv, mem)) \
	X(void, attend_grad, (struct attention a, int64_t b, int64_t kv, float *mem), (a, b, kv, mem)) \
	X(void, swiglu, (struct vec h, struct vec gate, struct vec up, uint32_t *most), (h, gate, up, most)) \
	X(void, swiglu_grad, (struct vec dgate, struct vec dup, struct vec dh, struct vec gate, struct vec up, uint32_t *most_gate, uint32_t *most_up), (dgate, dup, dh, gate, up, most_gate, most_up)) \
	X(void, activate, (struct vec y, struct vec x, int f), (y, x, f)) \
	X(void, activate_grad, (struct vec dx, struct vec dy, struct vec x, int f), (dx, dy, x, f)) \
	X(void, layer_norm, (struct vec y, float *mean, float *rstd, int64_t rows, struct vec x, struct vec w, struct vec b, float eps), (y, mean, rstd, rows, x, w, b, eps)) \
	X(void, layer_norm_grad, (struct vec dx, float *dw, struct vec dy, struct vec x, const float *mean, const float *rstd, int64_t rows, struct vec w, struct vec add), (dx, dw, dy, x, mean, rstd, rows, w, add)) \
	X(double, squared_error, (struct vec y, struct vec target, float scale), (y, target, scale)) \
	X(void, cross_entropy, (struct loss_row *rows, int64_t n, struct vec logits, const int32_t *targets, float scale), (rows, n, logits, targets, scale)) \
	X(void, loss_stats, (struct loss_row *rows, int64_t n, struct vec logits, const int32_t *targets, int64_t offset), (rows, n, logits, targets, offset)) \
	X(void, loss_grad, (struct loss_row *rows, int64_t n, struct vec logits, const int32_t *targets, int64_t offset, float scale), (rows, n, logits, targets, offset, scale)) \
	X(double, sum_squares, (struct vec x), (x)) \
	X(void, adamw, (struct vec p, struct vec g, struct vec m, struct vec v, struct adamw c), (p, g, m, v, c))

#define MEMBER(result, name, params, args) result (*name) params;
struct simd_table {
	KERNELS(MEMBER)
};
#undef MEMBER

extern const struct simd_table simd_avx2, simd_avx512, simd_avx512bf16;

// Attention of bf16 tensors on AMX, and its gradient there and on the bf16 dot.
void octet_attend_amx(struct attention a, int64_t b, int64_t kv, float *mem);
void octet_attend_grad_amx(struct attention a, int64_t b, int64_t kv, float *mem);
void octet_attend_grad_dot(struct attention a, int64_t b, int64_t kv, float *mem);

// Go cannot call a function pointer, so each has a function that does.
#define BARE(...) __VA_ARGS__
#define CALL(result, name, params, args) \
	static inline result call_##name(const struct simd_table *t, BARE params) { return t->name args; }
KERNELS(CALL)
#undef CALL
#undef BARE

#endif
