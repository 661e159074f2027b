// SPDX-License-Identifier: Apache-2.0

// All kernels for vectors of W floats, and the table of them, called ISA_TABLE. A
// file sets both, and its target, and includes this once.

#include "simd_vec.h"
#include "simd_elementwise.h"
#include "simd_cast.h"
#include "simd_norm.h"
#include "simd_loss.h"
#include "simd_attention.h"

const struct simd_table ISA_TABLE = {
	.convert = convert,
	.add = add,
	.amax = amax,
	.cast = cast,
	.cast_t = cast_t,
	.widen = widen,
	.transpose = transpose_rows,
	.add_bias = add_bias,
	.sum_rows = sum_rows,
	.rms_norm = rms_norm,
	.rms_norm_grad = rms_norm_grad,
	.rope = rope,
	.attend = attend,
	.attend_grad = attend_grad,
	.swiglu = swiglu,
	.swiglu_grad = swiglu_grad,
	.cross_entropy = cross_entropy,
	.loss_stats = loss_stats,
	.loss_grad = loss_grad,
	.sum_squares = sum_squares,
	.adamw = adamw,
};
