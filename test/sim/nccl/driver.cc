// SPDX-License-Identifier: Apache-2.0

#include "driver.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <type_traits>

void fail(ncclResult_t result, const char *format, ...) {
	char text[512];
	va_list list;
	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	throw failure{result, text};
}

static octet_cuda open_driver() {
	const char *path = getenv("OCTET_CUDA_LIB");
	if (!path || !*path) path = "libcuda.so.1";
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!lib) fail(ncclSystemError, "no driver: %s", dlerror());
	octet_cuda d = {};
	const auto find = [lib](auto &f, const char *name) {
		f = reinterpret_cast<std::remove_reference_t<decltype(f)>>(dlsym(lib, name));
		if (!f) fail(ncclSystemError, "the driver lacks %s", name);
	};
#define FIND(name) find(d.name, #name)
	FIND(cuGetErrorName);
	FIND(cuCtxGetCurrent);
	FIND(cuCtxSetCurrent);
	FIND(cuModuleLoadDataEx);
	FIND(cuModuleGetFunction);
	FIND(cuLaunchKernelEx);
	FIND(cuMemAlloc_v2);
	FIND(cuMemFree_v2);
	FIND(cuMemHostAlloc);
	FIND(cuMemFreeHost);
	FIND(cuMemcpyDtoDAsync_v2);
	FIND(cuMemcpyDtoHAsync_v2);
	FIND(cuMemcpyHtoDAsync_v2);
	FIND(cuMemsetD32Async);
	FIND(cuPointerGetAttribute);
	FIND(cuStreamCreateWithPriority);
	FIND(cuStreamDestroy_v2);
	FIND(cuStreamSynchronize);
	FIND(cuStreamWaitEvent);
	FIND(cuStreamWriteValue32_v2);
	FIND(cuStreamWaitValue32_v2);
	FIND(cuEventCreate);
	FIND(cuEventDestroy_v2);
	FIND(cuEventRecord);
	FIND(cuEventSynchronize);
	return d;
}

const octet_cuda &driver() {
	static const octet_cuda d = open_driver();
	return d;
}

void check(CUresult r, const char *call) {
	if (r == CUDA_SUCCESS) return;
	const char *name = nullptr;
	driver().cuGetErrorName(r, &name);
	fail(ncclUnhandledCudaError, "%s: %s (%d)", call, name ? name : "unknown error", r);
}

in_context::in_context(CUcontext c) {
	DRIVER(cuCtxGetCurrent, &before);
	if (c != before) DRIVER(cuCtxSetCurrent, c);
}

in_context::~in_context() { driver().cuCtxSetCurrent(before); }

// The image of reduce_ranks, as `make images` compiles it for compute capability 8.0 and newer.
static const char image[] =
#include "kernels/reduce_ranks.ptx"
;

CUfunction reduce_kernel() {
	CUmodule m;
	CUfunction f;
	DRIVER(cuModuleLoadDataEx, &m, image, 0, nullptr, nullptr);
	DRIVER(cuModuleGetFunction, &f, m, "reduce_ranks");
	return f;
}
