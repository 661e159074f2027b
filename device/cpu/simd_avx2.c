// SPDX-License-Identifier: Apache-2.0

// The kernels on AVX2 and FMA: vectors of 8 floats.

//go:build cgo && amd64

// Products and sums are fused only where the source says so: casts and the
// optimizer must give the Go functions' bits.
#pragma GCC optimize("fp-contract=off")
#pragma GCC target("avx2,fma")
#define W 8

#include "simd_vec.h"
#include "simd_elementwise.h"
#include "simd_cast.h"
#include "simd_norm.h"
#include "simd_loss.h"
#include "simd_attention.h"

const struct simd_table simd_avx2 = {
	.convert = convert,
	.add = add,
	.amax = amax,
	.cast = cast,
	.cast_t = cast_t,
	.uncast = uncast,
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
	.sum_squares = sum_squares,
	.adamw = adamw,
};
