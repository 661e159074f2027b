// SPDX-License-Identifier: Apache-2.0

// Of libcuda: modules and launches. An image is looked at as far as a driver would refuse
// it; its kernels are those of libsimkernels, by name.

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "registry.h"
#include "state.h"

using namespace sim;

namespace {

// registry is libsimkernels.so, opened when it is first needed.
struct registry {
	decltype(&sim_kernel_find) find = nullptr;
	decltype(&sim_kernel_threads) threads = nullptr;
	decltype(&sim_kernel_params) params = nullptr;
	decltype(&sim_kernel_param_bytes) param_bytes = nullptr;
	decltype(&sim_kernel_ranges) ranges = nullptr;
	decltype(&sim_kernel_run) run = nullptr;

	registry() {
		const char *path = getenv("SIM_KERNELS");
		void *lib = dlopen(path && *path ? path : "libsimkernels.so", RTLD_NOW | RTLD_LOCAL);
		if (!lib) {
			found("no kernels: %s", dlerror());
			return;
		}
		find = (decltype(find))dlsym(lib, "sim_kernel_find");
		threads = (decltype(threads))dlsym(lib, "sim_kernel_threads");
		params = (decltype(params))dlsym(lib, "sim_kernel_params");
		param_bytes = (decltype(param_bytes))dlsym(lib, "sim_kernel_param_bytes");
		ranges = (decltype(ranges))dlsym(lib, "sim_kernel_ranges");
		run = (decltype(run))dlsym(lib, "sim_kernel_run");
	}
};
const registry &kernels() {
	static const registry r;
	return r;
}

// A function's dynamic memory is what a block may have less what its text declares. That is not known here:
// it counts as this much.
constexpr int declared = 3 << 10;

struct function {
	const sim_kernel *kernel;
	std::string name;
	int most_shared = (48 << 10) - declared;
	const void *module;
};

struct module {
	std::map<std::string, std::unique_ptr<function>> functions;
};

// refusal is why a driver would not load an image: cubins are for one major architecture,
// PTX is for all that come later.
CUresult refusal(const char *image) {
	const int cc = all().capability;
	if (!memcmp(image, "\x7f" "ELF", 4)) {
		uint16_t machine;
		uint32_t flags;
		memcpy(&machine, image + 18, 2);
		memcpy(&flags, image + 48, 4);
		if (machine != 190) return CUDA_ERROR_INVALID_IMAGE;
		const int sm = (int)(flags >> 8 & 0xFF); // of the ELF of CUDA 13
		return sm / 10 == cc / 10 && sm <= cc ? CUDA_SUCCESS : CUDA_ERROR_NO_BINARY_FOR_GPU;
	}
	const char *version = strstr(image, ".version"), *target = strstr(image, ".target sm_");
	if (!version || !target) return CUDA_ERROR_INVALID_IMAGE;
	if (atoi(version + 8) > 9) return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
	return atoi(target + 11) <= cc ? CUDA_SUCCESS : CUDA_ERROR_NO_BINARY_FOR_GPU;
}

} // namespace

#define ENTER \
	guard g(all().lock); \
	if (!current) return all().initialised ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_NOT_INITIALIZED; \
	device &d = *current->on; \
	if (d.sticky) return d.sticky

CUresult cuModuleLoadDataEx(CUmodule *out, const void *image, unsigned int, CUjit_option *, void **) {
	ENTER;
	if (const CUresult r = refused(d)) return r;
	if (const planned p = planned_for("ModuleLoadDataEx", d.ordinal); p.result) return p.result;
	if (const CUresult r = refusal((const char *)image); r != CUDA_SUCCESS) return r;
	count("modules");
	beside(d, "modules");
	*out = (CUmodule) new module;
	return CUDA_SUCCESS;
}
CUresult cuModuleGetFunction(CUfunction *out, CUmodule handle, const char *name) {
	ENTER;
	auto &f = ((module *)handle)->functions[name];
	if (!f) {
		const sim_kernel *k = kernels().find ? kernels().find(name) : nullptr;
		if (!k) return CUDA_ERROR_NOT_FOUND;
		f = std::make_unique<function>();
		f->kernel = k;
		f->name = name;
		f->module = handle;
	}
	*out = (CUfunction)f.get();
	return CUDA_SUCCESS;
}
CUresult cuModuleUnload(CUmodule handle) {
	ENTER;
	for (auto &s : d.streams)
		if (s->runs == handle || std::any_of(s->queue.begin(), s->queue.end(), [&](const operation &o) { return o.module == handle; }))
			found("a module is unloaded while %s has launches of it", s->name.c_str());
	for (auto &e : d.graphs)
		if (std::any_of(e->steps.begin(), e->steps.end(), [&](const step &x) { return x.o.module == handle; }))
			found("a module is unloaded while a graph has launches of it");
	delete (module *)handle;
	return CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value) {
	ENTER;
	const int most = shared_of_block(all().capability) - declared;
	if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 || value > most) return CUDA_ERROR_INVALID_VALUE;
	((function *)handle)->most_shared = value;
	return CUDA_SUCCESS;
}
CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction handle) {
	ENTER;
	switch (attribute) {
	case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = ((function *)handle)->most_shared; break;
	case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = 32; break;
	default: return CUDA_ERROR_INVALID_VALUE;
	}
	return CUDA_SUCCESS;
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction, int threads, size_t) {
	if (threads <= 0 || threads > 1024) return CUDA_ERROR_INVALID_VALUE;
	*blocks = 2048 / threads;
	return CUDA_SUCCESS;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *c, CUfunction handle, void **params, void **extra) {
	ENTER;
	function &f = *(function *)handle;
	stream *s = nullptr;
	for (auto &x : d.streams)
		if (x.get() == (stream *)c->hStream) s = x.get();
	if (!s) return CUDA_ERROR_INVALID_HANDLE;
	if (s->in && s->in->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	const planned plan = planned_for(f.name, d.ordinal);
	if (plan.result && !plan.later) return plan.result;
	const registry &r = kernels();
	if (!c->gridDimX || c->gridDimY != 1 || c->gridDimZ != 1 || c->blockDimX != r.threads(f.kernel) || c->blockDimY != 1 || c->blockDimZ != 1 ||
		c->sharedMemBytes > (unsigned)f.most_shared || extra) {
		found("%s: a launch of %u×%u×%u blocks of %u×%u×%u threads, %u bytes", f.name.c_str(), c->gridDimX, c->gridDimY, c->gridDimZ, c->blockDimX, c->blockDimY,
			c->blockDimZ, c->sharedMemBytes);
		return CUDA_ERROR_INVALID_VALUE;
	}
	count("launches");
	count("launch " + f.name);

	// What the parameters are is copied at the call.
	struct held {
		std::vector<std::vector<uint64_t>> bytes; // aligned as any
		std::vector<void *> at;
	};
	auto h = std::make_shared<held>();
	for (size_t i = 0; i < r.params(f.kernel); i++) {
		const size_t n = r.param_bytes(f.kernel, i);
		h->bytes.emplace_back((n + 7) / 8 + 1);
		memcpy(h->bytes.back().data(), params[i], n);
	}
	for (auto &b : h->bytes) h->at.push_back(b.data());

	const sim_kernel *k = f.kernel;
	const sim_launch launch{c->gridDimX, c->blockDimX, c->sharedMemBytes, h->at.data(), 0};
	const uint64_t slow = plan.slow_ms * 1000;
	operation o{};
	o.what = kind::work;
	o.name = f.name;
	o.fault = plan.result;
	o.spoil = plan.spoil;
	o.module = f.module;
	o.touches = [h, k](std::vector<range> &out) {
		const registry &r = kernels();
		std::vector<sim_range> found(r.ranges(k, h->at.data(), nullptr, 0));
		r.ranges(k, h->at.data(), found.data(), found.size());
		for (const sim_range &x : found) out.push_back({x.address, x.bytes, x.writes != 0, x.argument});
	};
	o.shuffle = draw(d);
	o.run = [h, k, launch, slow](uint64_t shuffle) -> std::string {
		if (slow) usleep((useconds_t)slow);
		sim_launch l = launch;
		l.seed = shuffle;
		sim_report report{};
		kernels().run(k, &l, &report);
		return report.fault;
	};
	enqueue(*s, std::move(o));
	return CUDA_SUCCESS;
}
