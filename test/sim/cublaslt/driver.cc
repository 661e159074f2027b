// SPDX-License-Identifier: Apache-2.0

// The product itself: octet's kernel of any type and layout, launched as any other. Its
// arguments are those of device/cuda/kernels/matmul.cu.

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>

#include "lt.h"

namespace lt {

namespace {

// image is one that every device takes; the simulated driver knows its kernels by name.
const char image[] = ".version 8.0\n.target sm_50\n";

// tensor is a kernel's src or dst: an address, and in one word the type, whether it is
// written, and how many elements it has.
struct tensor {
	uint64_t address, meta;
};

uint64_t element(int type) { // of device/cuda/kernels/number.h
	switch (type) {
	case CUDA_R_32F: return 1;
	case CUDA_R_16BF: return 2;
	case CUDA_R_8F_E4M3: return 3;
	default: return 4;
	}
}

tensor at(const void *address, int type, uint64_t n, bool written) {
	return {(uint64_t)(uintptr_t)address, element(type) | (written ? 256 : 0) | n << 16};
}

// stored is how many elements a layout's memory has.
uint64_t stored(const layout &l) { return (l.cols - 1) * (uint64_t)l.ld + l.rows; }

} // namespace

bool driver::open() {
	const char *path = getenv("OCTET_CUDA_LIB");
	void *lib = dlopen(path ? path : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!lib) return false;
	load_module = (decltype(load_module))dlsym(lib, "cuModuleLoadDataEx");
	auto get = (CUresult(*)(CUfunction *, CUmodule, const char *))dlsym(lib, "cuModuleGetFunction");
	auto ask = (CUresult(*)(int *, CUdevice_attribute, CUdevice))dlsym(lib, "cuDeviceGetAttribute");
	launch_kernel = (decltype(launch_kernel))dlsym(lib, "cuLaunchKernelEx");
	set = (decltype(set))dlsym(lib, "cuMemsetD8Async");
	int major = 0, minor = 0;
	CUmodule module;
	if (!load_module || !get || !ask || !launch_kernel || !set || load_module(&module, image, 0, nullptr, nullptr) || get(&kernel, module, "matmul")) return false;
	if (ask(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0) || ask(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0)) return false;
	capability = 10 * major + minor;
	return true;
}

bool driver::load(std::set<uint64_t> &known, uint64_t problem) {
	const std::lock_guard<std::mutex> g(lock);
	CUmodule module;
	return !known.insert(problem).second || load_module(&module, image, 0, nullptr, nullptr) == CUDA_SUCCESS;
}

cublasStatus_t driver::launch(const problem &x, const void *a, const void *b, void *d, bool add, void *workspace, size_t fills, cudaStream_t stream) {
	// The kernel's operands are row-major, so its left one is the second here: its lanes are
	// D's columns.
	uint64_t m = x.d.cols, n = x.d.rows, k = x.p.trans_a ? x.a.rows : x.a.cols;
	uint64_t b_step = x.p.trans_a ? (uint64_t)x.a.ld : 1, b_k = x.p.trans_a ? 1 : (uint64_t)x.a.ld;
	uint64_t a_step = x.p.trans_b ? 1 : (uint64_t)x.b.ld, a_k = x.p.trans_b ? (uint64_t)x.b.ld : 1;
	uint32_t each = x.p.mode_a == CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F, plus = add;
	const auto inverse = [&](const void *p, uint64_t lanes) { return p ? at(p, CUDA_R_32F, each ? lanes : 1, false) : tensor{0, 0}; };
	tensor c = at(d, (int)x.d.type, m * n, true), left = at(b, (int)x.b.type, stored(x.b), false), right = at(a, (int)x.a.type, stored(x.a), false);
	tensor left_inv = inverse(x.p.scale_b, m), right_inv = inverse(x.p.scale_a, n);
	void *args[] = {&c, &left, &right, &left_inv, &right_inv, &m, &n, &k, &a_step, &a_k, &b_step, &b_k, &each, &each, &plus};
	CUlaunchConfig how = {};
	how.gridDimX = (unsigned)std::min<uint64_t>((m + 63) / 64 * ((n + 63) / 64), 1024), how.gridDimY = how.gridDimZ = 1;
	how.blockDimX = 256, how.blockDimY = how.blockDimZ = 1;
	how.hStream = stream;
	// Whoever has two streams share a workspace is found out by what is written there.
	if (set((CUdeviceptr)(uintptr_t)workspace, 0xFF, fills, stream) || launch_kernel(&how, kernel, args, nullptr)) return CUBLAS_STATUS_EXECUTION_FAILED;
	return CUBLAS_STATUS_SUCCESS;
}

} // namespace lt
