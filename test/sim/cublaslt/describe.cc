// SPDX-License-Identifier: Apache-2.0

// What attributes there are, and which products a GPU's library takes: cuBLAS's
// documentation of narrow precisions, and what it was seen to refuse.

#include "lt.h"

namespace lt {

field product::find(int id) {
	switch (id) {
	case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE: return {&compute, 4};
	case CUBLASLT_MATMUL_DESC_SCALE_TYPE: return {&scale, 4};
	case CUBLASLT_MATMUL_DESC_POINTER_MODE: return {&pointer_mode, 4};
	case CUBLASLT_MATMUL_DESC_TRANSA: return {&trans_a, 4};
	case CUBLASLT_MATMUL_DESC_TRANSB: return {&trans_b, 4};
	case CUBLASLT_MATMUL_DESC_EPILOGUE: return {&epilogue, 4};
	case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return {&bias, 8};
	case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: return {&bias_type, 4};
	case CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET: return {&sms, 4};
	case CUBLASLT_MATMUL_DESC_A_SCALE_POINTER: return {&scale_a, 8};
	case CUBLASLT_MATMUL_DESC_B_SCALE_POINTER: return {&scale_b, 8};
	case CUBLASLT_MATMUL_DESC_C_SCALE_POINTER: return {&scale_c, 8};
	case CUBLASLT_MATMUL_DESC_D_SCALE_POINTER: return {&scale_d, 8};
	case CUBLASLT_MATMUL_DESC_AMAX_D_POINTER: return {&amax_d, 8};
	case CUBLASLT_MATMUL_DESC_FAST_ACCUM: return {&fast, 1};
	case CUBLASLT_MATMUL_DESC_A_SCALE_MODE: return {&mode_a, 4};
	case CUBLASLT_MATMUL_DESC_B_SCALE_MODE: return {&mode_b, 4};
	case CUBLASLT_MATMUL_DESC_C_SCALE_MODE: return {&mode_c, 4};
	case CUBLASLT_MATMUL_DESC_D_SCALE_MODE: return {&mode_d, 4};
	case CUBLASLT_MATMUL_DESC_D_OUT_SCALE_POINTER: return {&out, 8};
	case CUBLASLT_MATMUL_DESC_D_OUT_SCALE_MODE: return {&mode_out, 4};
	}
	return {nullptr, 0};
}

field layout::find(int id) {
	switch (id) {
	case CUBLASLT_MATRIX_LAYOUT_TYPE: return {&type, 4};
	case CUBLASLT_MATRIX_LAYOUT_ORDER: return {&order, 4};
	case CUBLASLT_MATRIX_LAYOUT_ROWS: return {&rows, 8};
	case CUBLASLT_MATRIX_LAYOUT_COLS: return {&cols, 8};
	case CUBLASLT_MATRIX_LAYOUT_LD: return {&ld, 8};
	case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return {&batch, 4};
	case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return {&stride, 8};
	}
	return {nullptr, 0};
}

field preference::find(int id) {
	switch (id) {
	case CUBLASLT_MATMUL_PREF_SEARCH_MODE: return {&search, 4};
	case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return {&workspace, 8};
	case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: return {&align_a, 4};
	case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: return {&align_b, 4};
	case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: return {&align_c, 4};
	case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return {&align_d, 4};
	case CUBLASLT_MATMUL_PREF_MAX_WAVES_COUNT: return {&waves, 4};
	}
	return {nullptr, 0};
}

size_t type_bytes(int type) {
	switch (type) {
	case CUDA_R_32F: return 4;
	case CUDA_R_16F: case CUDA_R_16BF: return 2;
	case CUDA_R_8F_E4M3: case CUDA_R_8F_E5M2: return 1;
	}
	return 0;
}

static bool narrow(int type) { return type_bytes(type) == 1; }

// shapes_agree reports whether the layouts are those of one product.
static bool shapes_agree(const problem &x) {
	const uint64_t m = x.p.trans_a ? x.a.cols : x.a.rows, k = x.p.trans_a ? x.a.rows : x.a.cols;
	const uint64_t n = x.p.trans_b ? x.b.rows : x.b.cols, kb = x.p.trans_b ? x.b.cols : x.b.rows;
	return k == kb && x.d.rows == m && x.d.cols == n && x.c.rows == m && x.c.cols == n && x.c.type == x.d.type && x.c.ld == x.d.ld;
}

cublasStatus_t supported(const problem &x, int capability) {
	const product &p = x.p;
	if (!shapes_agree(x) || (uint32_t)p.trans_a > 1 || (uint32_t)p.trans_b > 1) return CUBLAS_STATUS_INVALID_VALUE;
	// What octet does not use, the kernel cannot do.
	if (p.epilogue != CUBLASLT_EPILOGUE_DEFAULT || p.pointer_mode != 0 || p.bias || p.scale_c || p.scale_d || p.amax_d || x.a.batch != 1 || x.d.ld != (int64_t)x.d.rows)
		return CUBLAS_STATUS_NOT_SUPPORTED;
	const int a = (int)x.a.type, b = (int)x.b.type, d = (int)x.d.type;
	if (!narrow(a) && !narrow(b)) {
		// A scale is of narrow operands only.
		if (a != b || p.scale_a || p.scale_b || p.mode_a || p.mode_b) return CUBLAS_STATUS_NOT_SUPPORTED;
		return d == a || (a == CUDA_R_16BF && d == CUDA_R_32F) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
	}
	if (!narrow(a) || !narrow(b) || capability < 89) return CUBLAS_STATUS_NOT_SUPPORTED;
	if (a == CUDA_R_8F_E5M2 && b == CUDA_R_8F_E5M2) return CUBLAS_STATUS_NOT_SUPPORTED;
	if (d != CUDA_R_16BF && d != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
	const bool datacenter_blackwell = capability >= 100 && capability < 120;
	if (!(p.trans_a == 1 && p.trans_b == 0) && !datacenter_blackwell) return CUBLAS_STATUS_NOT_SUPPORTED;
	if (p.mode_a != p.mode_b) return CUBLAS_STATUS_NOT_SUPPORTED;
	switch (p.mode_a) {
	case CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F: return CUBLAS_STATUS_SUCCESS;
	case CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F: return capability == 90 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
	}
	return CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t aligned(const problem &x, uint32_t a, uint32_t b, uint32_t d) {
	if (!narrow((int)x.a.type))
		return a % type_bytes((int)x.a.type) || b % type_bytes((int)x.b.type) ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
	const uint64_t k = x.p.trans_a ? x.a.rows : x.a.cols;
	if (a % 16 || b % 16 || d % 16 || x.a.ld % 16 || x.b.ld % 16 || k % 16 || x.d.rows % 16) return CUBLAS_STATUS_NOT_SUPPORTED;
	return CUBLAS_STATUS_SUCCESS;
}

uint64_t fingerprint(const problem &x) {
	uint64_t h = 14695981039346656037u; // FNV-1a
	const uint64_t parts[] = {(uint64_t)x.p.trans_a, (uint64_t)x.p.trans_b, (uint64_t)x.p.mode_a, (uint64_t)x.p.mode_b, (uint64_t)x.p.fast,
		x.a.type, x.a.rows, x.a.cols, (uint64_t)x.a.ld, x.b.type, x.b.rows, x.b.cols, (uint64_t)x.b.ld, x.d.type, x.d.rows, x.d.cols, (uint64_t)x.d.ld};
	for (uint64_t part : parts)
		for (int i = 0; i < 8; i++) h = (h ^ (part >> 8 * i & 255)) * 1099511628211u;
	return h;
}

// The first is what the library proposes first. Which of the next two is faster and which slower depends on the problem; the others
// cost the least and are not to be had.
algorithm algorithm_of(uint64_t problem, int index) {
	const bool odd = problem >> 20 & 1;
	switch (index) {
	case 0: return {64 << 10};
	case 1: return {size_t(odd ? 32 : 128) << 10};
	case 2: return {size_t(odd ? 128 : 16) << 10, 128 << 10};
	case 3: return {1 << 10, size_t(1) << 30};
	case 4: return {1 << 10, 64 << 10, CUBLAS_STATUS_NOT_SUPPORTED};
	default: return {1 << 10, 64 << 10, CUBLAS_STATUS_SUCCESS, CUBLAS_STATUS_NOT_SUPPORTED};
	}
}

uint32_t alignment(const void *address) {
	const uintptr_t x = (uintptr_t)address | 256;
	return (uint32_t)(x & -x);
}

} // namespace lt
