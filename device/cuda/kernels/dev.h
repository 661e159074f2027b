// SPDX-License-Identifier: Apache-2.0

// The dialect of octet's kernels: one text that NVRTC, nvcc and g++ compile, the last
// through test/sim/emu/emu.h, which checks and counts what a GPU only does. Kernels
// reach global memory through the functions of memory.h alone, shared memory through
// SHARED and DYNAMIC, other threads through SYNC and the functions of warp.h.
//
//	KERNEL(256, add, dst y, src a, src b) {
//		for (u64 i = START(8); i < y.n(); i += STRIDE(8)) { ... }
//	}
//	A block has as many threads as KERNEL says; blocks go over the work in strides, so
//	that a grid of any size does all of it.

#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)

#define KERNEL(threads, name, ...) extern "C" __global__ void __launch_bounds__(threads) name(__VA_ARGS__)
#define DEV static __device__ __forceinline__
#define METHOD __device__ __forceinline__
#define SHARED(type, name, n) __shared__ type name[n]
#define DYNAMIC(type, name) \
	extern __shared__ __align__(16) u8 octet_dynamic_shared[]; \
	type *const name = reinterpret_cast<type *>(octet_dynamic_shared)
#define SYNC() __syncthreads()
#define THREAD ((u32)threadIdx.x)
#define THREADS ((u32)blockDim.x)
#define BLOCK ((u32)blockIdx.x)
#define BLOCKS ((u32)gridDim.x)
#define UNROLL _Pragma("unroll")
#define ROLL _Pragma("unroll 1")

// Shared is memory of a block as a function takes it.
template <class T>
using Shared = T *;

// A global access is what it says.
template <class T>
DEV T global_load(const void *p, u64 i) { return static_cast<const T *>(p)[i]; }
template <class T>
DEV void global_store(void *p, u64 i, T v) { static_cast<T *>(p)[i] = v; }
DEV u32 global_max_u32(void *p, u64 i, u32 v) { return atomicMax(static_cast<u32 *>(p) + i, v); }
DEV i32 global_max_i32(void *p, u64 i, i32 v) { return atomicMax(static_cast<i32 *>(p) + i, v); }

DEV float as_float(u32 u) { return __uint_as_float(u); }
DEV u32 as_bits(float f) { return __float_as_uint(f); }

// mul_rn and add_rn are rounded by themselves, never contracted to one operation.
DEV float mul_rn(float a, float b) { return __fmul_rn(a, b); }
DEV float add_rn(float a, float b) { return __fadd_rn(a, b); }

#else
#include "emu.h"
#endif

#define WARP 32

// START and STRIDE go over the whole grid, n elements a thread.
#define START(n) (((u64)BLOCK * THREADS + THREAD) * (n))
#define STRIDE(n) ((u64)BLOCKS * THREADS * (n))

DEV u32 min_of(u32 a, u32 b) { return a < b ? a : b; }
DEV u64 min_of(u64 a, u64 b) { return a < b ? a : b; }
DEV u32 max_of(u32 a, u32 b) { return a > b ? a : b; }

#include "number.h"
#include "memory.h"
#if !defined(__CUDACC__) && !defined(__CUDACC_RTC__)
#include "bounds.h"
#endif
#include "warp.h"
#include "matrix.h"
