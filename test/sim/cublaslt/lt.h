// SPDX-License-Identifier: Apache-2.0

// The descriptors of the simulated libcublasLt, and what it takes.

#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <set>

#include "api.h"

namespace lt {

// field is where an attribute lies, and its size; nowhere where there is none of that number.
struct field {
	void *at;
	size_t bytes;
};

struct product {
	int32_t compute = CUBLAS_COMPUTE_32F, scale = CUDA_R_32F, pointer_mode = 0, trans_a = 0, trans_b = 0, epilogue = CUBLASLT_EPILOGUE_DEFAULT, bias_type = -1, sms = 0;
	int32_t mode_a = 0, mode_b = 0, mode_c = 0, mode_d = 0, mode_out = 0;
	int8_t fast = 0;
	const void *bias = nullptr, *scale_a = nullptr, *scale_b = nullptr, *scale_c = nullptr, *scale_d = nullptr, *amax_d = nullptr, *out = nullptr;
	field find(int id);
};

struct layout {
	uint32_t type = 0;
	int32_t order = CUBLASLT_ORDER_COL;
	uint64_t rows = 0, cols = 0;
	int64_t ld = 0;
	int32_t batch = 1;
	int64_t stride = 0;
	field find(int id);
};

struct preference {
	uint32_t search = 0;
	uint64_t workspace = 0;
	uint32_t align_a = 256, align_b = 256, align_c = 256, align_d = 256;
	float waves = 0;
	field find(int id);
};

struct problem {
	product p;
	layout a, b, c, d;
};

// algorithm is one of those that there are for a problem. All come to the same bits; what each costs is what it writes to its
// workspace.
struct algorithm {
	size_t fills;               // bytes
	size_t workspace = 64 << 10; // that it asks for: more than nothing, so that who forgets it is found out
	cublasStatus_t state = CUBLAS_STATUS_SUCCESS, runs = CUBLAS_STATUS_SUCCESS;
};

const int algorithm_count = 6;
algorithm algorithm_of(uint64_t problem, int index); // of a fingerprint

size_t type_bytes(int type); // 0: no type
cublasStatus_t supported(const problem &x, int capability);
cublasStatus_t aligned(const problem &x, uint32_t a, uint32_t b, uint32_t d);
uint64_t fingerprint(const problem &x); // without the pointers, which belong to a call
uint32_t alignment(const void *address);

// driver is the one that the process has open, with the kernel that multiplies.
struct driver {
	int capability = 0;
	bool open();
	cublasStatus_t launch(const problem &x, const void *a, const void *b, void *d, bool add, void *workspace, size_t fills, cudaStream_t stream);

	// load is what the library does when a problem is new: its kernels are loaded when they are first wanted.
	bool load(std::set<uint64_t> &known, uint64_t problem);
	std::set<uint64_t> asked, ran;

private:
	std::mutex lock;
	CUfunction kernel = nullptr;
	CUresult (*load_module)(CUmodule *, const void *, unsigned, CUjit_option *, void **) = nullptr;
	CUresult (*launch_kernel)(const CUlaunchConfig *, CUfunction, void **, void **) = nullptr;
	CUresult (*set)(CUdeviceptr, unsigned char, size_t, CUstream) = nullptr;
};

} // namespace lt
