// SPDX-License-Identifier: Apache-2.0

// A libcublasLt that multiplies on the simulated device with octet's own kernel, and
// refuses what the real library refuses on the compute capability of SIM_CC: sizes of
// attributes, types, transpositions, alignments, kinds of scales. It calls nothing but the
// driver. An algorithm has its problem's fingerprint, so that one of another problem is
// found out.

#include <cstdlib>
#include <cstring>

#include "lt.h"

namespace {

using namespace lt;

const size_t version = 130000;

// store copies an attribute in, if it has the size that the library knows it by.
template <typename Record> cublasStatus_t store(Record *r, int id, const void *value, size_t bytes) {
	if (!r || !value) return CUBLAS_STATUS_INVALID_VALUE;
	field f = r->find(id);
	if (!f.at || f.bytes != bytes) return CUBLAS_STATUS_INVALID_VALUE;
	memcpy(f.at, value, bytes);
	return CUBLAS_STATUS_SUCCESS;
}

template <typename Record> cublasStatus_t fetch(Record *r, int id, void *value, size_t bytes, size_t *written) {
	if (!r) return CUBLAS_STATUS_INVALID_VALUE;
	field f = r->find(id);
	if (!f.at) return CUBLAS_STATUS_INVALID_VALUE;
	if (written) *written = f.bytes;
	if (bytes == 0 && written) return CUBLAS_STATUS_SUCCESS;
	if (!value || bytes != f.bytes) return CUBLAS_STATUS_INVALID_VALUE;
	memcpy(value, f.at, bytes);
	return CUBLAS_STATUS_SUCCESS;
}

template <typename Record, typename Handle> cublasStatus_t drop(Handle h) {
	if (!h) return CUBLAS_STATUS_INVALID_VALUE;
	delete reinterpret_cast<Record *>(h);
	return CUBLAS_STATUS_SUCCESS;
}

product *of(cublasLtMatmulDesc_t d) { return reinterpret_cast<product *>(d); }
layout *of(cublasLtMatrixLayout_t l) { return reinterpret_cast<layout *>(l); }
preference *of(cublasLtMatmulPreference_t p) { return reinterpret_cast<preference *>(p); }

// named reports which algorithm of a problem octet has, -1 for none: its first two words say so, the others are 0.
int named(const cublasLtMatmulAlgo_t *algo, const problem &x) {
	for (int i = 2; i < 8; i++)
		if (algo->data[i]) return -1;
	return algo->data[0] == fingerprint(x) && algo->data[1] < (uint64_t)algorithm_count ? (int)algo->data[1] : -1;
}

cublasLtMatmulHeuristicResult_t result_of(uint64_t print, int index) {
	const algorithm is = algorithm_of(print, index);
	cublasLtMatmulHeuristicResult_t r = {};
	r.algo.data[0] = print, r.algo.data[1] = (uint64_t)index;
	r.workspaceSize = is.workspace;
	r.state = is.state;
	r.wavesCount = 1;
	return r;
}

problem all(cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d) {
	return {*of(desc), *of(a), *of(b), *of(c), *of(d)};
}

} // namespace

#include "exports_cublaslt.h"

size_t cublasLtGetVersion(void) { return version; }

const char *cublasLtGetStatusName(cublasStatus_t status) {
	switch (status) {
	case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
	case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
	case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
	case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
	case CUBLAS_STATUS_ARCH_MISMATCH: return "CUBLAS_STATUS_ARCH_MISMATCH";
	case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
	case CUBLAS_STATUS_INTERNAL_ERROR: return "CUBLAS_STATUS_INTERNAL_ERROR";
	case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
	}
	return "CUBLAS_STATUS_?";
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
	if (!handle) return CUBLAS_STATUS_INVALID_VALUE;
	auto *d = new driver;
	if (!d->open()) {
		delete d;
		return CUBLAS_STATUS_NOT_INITIALIZED;
	}
	*handle = reinterpret_cast<cublasLtHandle_t>(d);
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) { return drop<driver>(handle); }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute, cudaDataType_t scale) {
	if (!desc || compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_INVALID_VALUE;
	*desc = reinterpret_cast<cublasLtMatmulDesc_t>(new product);
	return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) { return drop<product>(desc); }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute, const void *value, size_t bytes) {
	return store(of(desc), attribute, value, bytes);
}
cublasStatus_t cublasLtMatmulDescGetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute, void *value, size_t bytes, size_t *written) {
	return fetch(of(desc), attribute, value, bytes, written);
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *made, cudaDataType_t type, uint64_t rows, uint64_t cols, int64_t ld) {
	if (!made || rows == 0 || cols == 0 || ld < (int64_t)rows || type_bytes(type) == 0) return CUBLAS_STATUS_INVALID_VALUE;
	auto *l = new layout;
	l->type = (uint32_t)type, l->rows = rows, l->cols = cols, l->ld = ld;
	*made = reinterpret_cast<cublasLtMatrixLayout_t>(l);
	return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) { return drop<layout>(l); }
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t attribute, const void *value, size_t bytes) {
	return store(of(l), attribute, value, bytes);
}
cublasStatus_t cublasLtMatrixLayoutGetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t attribute, void *value, size_t bytes, size_t *written) {
	return fetch(of(l), attribute, value, bytes, written);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *made) {
	if (!made) return CUBLAS_STATUS_INVALID_VALUE;
	*made = reinterpret_cast<cublasLtMatmulPreference_t>(new preference);
	return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) { return drop<preference>(p); }
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t attribute, const void *value, size_t bytes) {
	return store(of(p), attribute, value, bytes);
}
cublasStatus_t cublasLtMatmulPreferenceGetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t attribute, void *value, size_t bytes, size_t *written) {
	return fetch(of(p), attribute, value, bytes, written);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t p, int want, cublasLtMatmulHeuristicResult_t *results, int *got) {
	if (!handle || !desc || !a || !b || !c || !d || !p || !results || !got || want < 1) return CUBLAS_STATUS_INVALID_VALUE;
	*got = 0;
	const problem x = all(desc, a, b, c, d);
	const preference &asked = *of(p);
	cublasStatus_t s = supported(x, reinterpret_cast<driver *>(handle)->capability);
	if (s == CUBLAS_STATUS_SUCCESS && asked.workspace >= algorithm_of(0, 0).workspace) s = aligned(x, asked.align_a, asked.align_b, asked.align_d);
	if (s != CUBLAS_STATUS_SUCCESS) return s;
	auto *on = reinterpret_cast<driver *>(handle);
	const uint64_t print = fingerprint(x);
	if (!on->load(on->asked, print)) return CUBLAS_STATUS_INTERNAL_ERROR;
	while (*got < want && *got < algorithm_count) {
		results[*got] = result_of(print, *got);
		++*got;
	}
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t *algo, cublasLtMatmulHeuristicResult_t *result) {
	if (!handle || !desc || !a || !b || !c || !d || !algo || !result) return CUBLAS_STATUS_INVALID_VALUE;
	const problem x = all(desc, a, b, c, d);
	const cublasStatus_t s = supported(x, reinterpret_cast<driver *>(handle)->capability);
	if (s != CUBLAS_STATUS_SUCCESS) return s;
	const int index = named(algo, x);
	if (index < 0) return CUBLAS_STATUS_INVALID_VALUE;
	*result = result_of(fingerprint(x), index);
	return result->state;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a, cublasLtMatrixLayout_t aLayout, const void *b, cublasLtMatrixLayout_t bLayout, const void *beta, const void *c, cublasLtMatrixLayout_t cLayout, void *d, cublasLtMatrixLayout_t dLayout, const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspaceBytes, cudaStream_t stream) {
	if (!handle || !desc || !alpha || !beta || !a || !b || !c || !d || !aLayout || !bLayout || !cLayout || !dLayout || !algo) return CUBLAS_STATUS_INVALID_VALUE;
	auto *on = reinterpret_cast<driver *>(handle);
	const problem x = all(desc, aLayout, bLayout, cLayout, dLayout);
	const float by = *(const float *)alpha, add = *(const float *)beta;
	// The kernel has no other factors, and octet asks for none.
	if (by != 1 || (add != 0 && add != 1) || c != d) return CUBLAS_STATUS_NOT_SUPPORTED;
	const int index = named(algo, x);
	if (index < 0) return CUBLAS_STATUS_INVALID_VALUE;
	const algorithm is = algorithm_of(fingerprint(x), index);
	if (workspaceBytes < is.workspace || is.runs != CUBLAS_STATUS_SUCCESS || (uintptr_t)workspace % 256 != 0) return CUBLAS_STATUS_NOT_SUPPORTED;
	cublasStatus_t s = supported(x, on->capability);
	if (s == CUBLAS_STATUS_SUCCESS) s = aligned(x, alignment(a), alignment(b), alignment(d));
	if (s != CUBLAS_STATUS_SUCCESS) return s;
	if (!on->load(on->ran, fingerprint(x))) return CUBLAS_STATUS_INTERNAL_ERROR;
	return on->launch(x, a, b, d, add == 1, workspace, is.fills, stream);
}
