// SPDX-License-Identifier: Apache-2.0

// The kernels on AVX-512: vectors of 16 floats.

//go:build cgo && amd64

// Products and sums are fused only where the source says so: casts and the
// optimizer must give the Go functions' bits.
#pragma GCC optimize("fp-contract=off")
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2,fma")
#define W 16
#define ISA_TABLE simd_avx512

#include "simd_table.h"
