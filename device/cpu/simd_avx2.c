// SPDX-License-Identifier: Apache-2.0

// The kernels on AVX2 and FMA: vectors of 8 floats.

//go:build cgo && amd64

// Products and sums are fused only where the source says so: casts and the
// optimizer must give the Go functions' bits.
#pragma GCC optimize("fp-contract=off")
#pragma GCC target("avx2,fma")
#define W 8
#define ISA_TABLE simd_avx2

#include "simd_table.h"
