// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

#include "glue.h"

static const float zero = 0, one = 1;

static cublasStatus_t point(const octet_cublaslt *t, uintptr_t context, uintptr_t desc, int attribute, uint64_t address) {
	const void *p = (const void *)(uintptr_t)address;
	return octet_cublasLtMatmulDescSetAttribute(t, context, desc, attribute, &p, sizeof p);
}

cublasStatus_t octet_gemm(const octet_cublaslt *t, uintptr_t context, const octet_product *p) {
	if (p->scaled) {
		cublasStatus_t s = point(t, context, p->desc, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, p->first_inverse);
		if (s == 0) s = point(t, context, p->desc, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, p->second_inverse);
		if (s != 0) return s;
	}
	void *d = (void *)(uintptr_t)p->result;
	return octet_cublasLtMatmul(t, context, p->handle, p->desc, &one, (const void *)(uintptr_t)p->first, p->a,
		(const void *)(uintptr_t)p->second, p->b, p->accumulate ? &one : &zero, d, p->d, d, p->d, &p->algorithm,
		(void *)(uintptr_t)p->workspace, p->workspace_bytes, p->stream);
}
