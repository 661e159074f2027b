// SPDX-License-Identifier: Apache-2.0

#pragma once

#include "api.h"

// octet_product is a product with its memory, in cuBLASLt's terms.
typedef struct octet_product {
	uintptr_t handle, desc, a, b, d;
	cublasLtMatmulAlgo_t algorithm;
	int accumulate, scaled;
	uint64_t first, second, result;
	uint64_t first_inverse, second_inverse; // 0: 1
	uint64_t workspace;
	size_t workspace_bytes;
	uintptr_t stream;
} octet_product;

// octet_gemm is one call into C for the scales and the product: the descriptor's pointers
// belong to the call, so nothing may come in between. Callers hold the plan's lock.
cublasStatus_t octet_gemm(const octet_cublaslt *t, uintptr_t context, const octet_product *p);
