// SPDX-License-Identifier: Apache-2.0

// Of libcuda: the driver, its devices, contexts and memory.

#include <sys/mman.h>

#include <cstring>

#include "state.h"

using namespace sim;

int sim::shared_of_block(int cc) { return (cc == 89 || cc / 10 == 12 ? 99 : cc == 80 ? 163 : 227) << 10; }

// ENTER takes the lock and the current context's device, d; a context that died says so.
#define ENTER \
	guard g(all().lock); \
	if (!current) return all().initialised ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_NOT_INITIALIZED; \
	device &d = *current->on; \
	if (d.sticky) return d.sticky

// PLAN is what SIM_FAULT has for the call.
#define PLAN(name) \
	const planned plan = planned_for(name, d.ordinal); \
	if (plan.result && !plan.later) return plan.result

// REFUSE returns where a capture forbids what may wait for the device.
#define REFUSE \
	if (const CUresult r = refused(d)) return r

CUresult cuInit(unsigned int flags) {
	guard g(all().lock);
	if (flags) return CUDA_ERROR_INVALID_VALUE;
	if (const planned p = planned_for("Init", 0); p.result) return p.result;
	machine &m = all();
	if (m.initialised) return CUDA_SUCCESS;
	const uint64_t n = env("SIM_DEVICES", 8);
	if (n == 0) return CUDA_ERROR_NO_DEVICE;
	for (uint64_t i = 0; i < n; i++) {
		m.devices.push_back(std::make_unique<device>());
		m.devices.back()->ordinal = (int)i;
		start(*m.devices.back());
	}
	m.initialised = true;
	return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int *version) {
	*version = (int)env("SIM_DRIVER", 13000);
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *n) {
	guard g(all().lock);
	if (!all().initialised) return CUDA_ERROR_NOT_INITIALIZED;
	*n = (int)all().devices.size();
	return CUDA_SUCCESS;
}

// LOOK takes the lock and the device of a number.
#define LOOK(ordinal) \
	guard g(all().lock); \
	if (!all().initialised) return CUDA_ERROR_NOT_INITIALIZED; \
	if (ordinal < 0 || (size_t)ordinal >= all().devices.size()) return CUDA_ERROR_INVALID_DEVICE; \
	[[maybe_unused]] device &d = *all().devices[(size_t)ordinal]

CUresult cuDeviceGet(CUdevice *out, int ordinal) {
	LOOK(ordinal);
	*out = ordinal;
	return CUDA_SUCCESS;
}
CUresult cuDeviceGetName(char *name, int length, CUdevice ordinal) {
	LOOK(ordinal);
	snprintf(name, (size_t)length, "simulated GPU");
	return CUDA_SUCCESS;
}
CUresult cuDeviceGetPCIBusId(char *id, int length, CUdevice ordinal) {
	LOOK(ordinal);
	snprintf(id, (size_t)length, "0000:%02x:00.0", ordinal + 1);
	return CUDA_SUCCESS;
}
CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice ordinal) {
	LOOK(ordinal);
	memset(uuid->bytes, 0, sizeof uuid->bytes);
	uuid->bytes[15] = (char)(ordinal + 1);
	return CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice ordinal) {
	LOOK(ordinal);
	*bytes = env("SIM_MEMORY", 4ull << 30);
	return CUDA_SUCCESS;
}
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice ordinal) {
	LOOK(ordinal);
	const int cc = (int)env("SIM_CC", 90);
	switch (attribute) {
	case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 4; break;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE: *value = 0; break;
	case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID: *value = ordinal + 1; break;
	case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID: *value = 0; break;
	case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID: *value = 0; break;
	case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = 1 << 20; break;
	case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: *value = 2048; break;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = cc / 10; break;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = cc % 10; break;
	case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = shared_of_block(cc); break;
	case CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED: *value = 0; break;
	case CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID: *value = 0; break;
	default: return CUDA_ERROR_INVALID_VALUE;
	}
	return CUDA_SUCCESS;
}

// configure reads the environment; no context is there.
static void configure() {
	machine &m = all();
	const char *how = getenv("SIM_MODE");
	const std::string name = how ? how : "";
	m.how = name == "eager" ? mode::eager : name == "random" ? mode::random : name == "lazy" ? mode::lazy : mode::late;
	m.delay = env("SIM_DELAY", 0);
	const char *clock = getenv("SIM_CLOCK");
	m.work_clock = clock && std::string(clock) == "work";
	m.capability = (int)env("SIM_CC", 90);
	m.memory_of_each = env("SIM_MEMORY", 4ull << 30);
	m.actors = 1;
	m.values.clear();
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice ordinal, unsigned int flags) {
	LOOK(ordinal);
	return flags & ~7u ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice ordinal) {
	LOOK(ordinal);
	if (d.retained == 0) {
		bool others = false;
		for (auto &o : all().devices) others |= o->retained > 0;
		if (!others) configure();
		d.sticky = 0;
		d.current = new context{&d}; // stays: threads may still have it as their current one
		d.host = all().actors++;
		d.host_clock = std::make_shared<vector_clock>();
		d.random.seed(env("SIM_SEED", 0) * 1000 + (uint64_t)ordinal);
	}
	d.retained++;
	*out = (CUcontext)d.current;
	return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice ordinal) {
	LOOK(ordinal);
	if (d.retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
	if (--d.retained > 0) return CUDA_SUCCESS;
	for (auto &s : d.streams) {
		while (s->running) all().changed.wait(g);
		if (!s->queue.empty() && !d.sticky) found("the context ends before the work of %s", s->name.c_str());
	}
	die(d, 0);
	d.streams.clear();
	d.graphs.clear();
	release_all(d);
	return CUDA_SUCCESS;
}
CUresult cuCtxSetCurrent(CUcontext c) {
	current = (context *)c;
	return CUDA_SUCCESS;
}
CUresult cuCtxGetCurrent(CUcontext *c) {
	*c = (CUcontext)current;
	return CUDA_SUCCESS;
}
CUresult cuCtxSynchronize() {
	ENTER;
	for (auto &s : d.streams)
		if (s->in) return not_captured(*s);
	count("host waits");
	for (auto &s : d.streams) wait_for(g, d, mark_now(*s));
	check_zones(d);
	return d.sticky;
}
CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
	ENTER;
	*least = 0;
	*greatest = -5;
	return CUDA_SUCCESS;
}

CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
	ENTER;
	*total = all().memory_of_each;
	*free = *total - d.live;
	return CUDA_SUCCESS;
}
CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) {
	ENTER;
	REFUSE;
	PLAN("MemAlloc");
	beside(d, "memory");
	return allocate(d, bytes, address);
}
CUresult cuMemFree_v2(CUdeviceptr address) {
	ENTER;
	REFUSE;
	beside(d, "memory");
	return release(d, address);
}
CUresult cuMemHostAlloc(void **memory, size_t bytes, unsigned int flags) {
	ENTER;
	REFUSE;
	PLAN("MemHostAlloc");
	beside(d, "memory");
	if (!bytes || flags) return CUDA_ERROR_INVALID_VALUE;
	void *p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
	all().pinned.emplace((uint64_t)p, allocation{(uint64_t)p, bytes, (uint64_t)p, bytes, {}, true});
	*memory = p;
	return CUDA_SUCCESS;
}
CUresult cuMemFreeHost(void *memory) {
	ENTER;
	REFUSE;
	const auto it = all().pinned.find((uint64_t)memory);
	if (it == all().pinned.end()) return CUDA_ERROR_INVALID_VALUE;
	freed(it->second, *d.host_clock);
	munmap(memory, it->second.bytes);
	all().pinned.erase(it);
	return CUDA_SUCCESS;
}
CUresult cuPointerGetAttribute(void *value, CUpointer_attribute attribute, CUdeviceptr address) {
	ENTER;
	allocation *a = owner(address, 1);
	device *of = device_of(address);
	if (!a || !of) return CUDA_ERROR_INVALID_VALUE;
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *(int *)value = of->ordinal; break;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: *(uint64_t *)value = a->address; break;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE: *(size_t *)value = a->bytes; break;
	default: return CUDA_ERROR_INVALID_VALUE;
	}
	return CUDA_SUCCESS;
}

size_t sim_findings(char *text, size_t size) {
	guard g(all().lock);
	std::string lines;
	for (const std::string &f : all().findings) lines += f + "\n";
	if (text && size) snprintf(text, size, "%s", lines.c_str());
	return lines.size();
}
uint64_t sim_count(const char *what) {
	guard g(all().lock);
	const bool streams = !strcmp(what, "streams");
	if (streams || !strcmp(what, "live")) {
		uint64_t n = 0;
		for (auto &d : all().devices) n += streams ? d->streams.size() : d->live;
		return n;
	}
	return strcmp(what, "peak") ? all().counts[what] : all().peak;
}
void sim_reset() {
	guard g(all().lock);
	all().findings.clear();
	all().counts.clear();
	all().peak = 0;
}
void sim_name(void *s, const char *name) {
	guard g(all().lock);
	((stream *)s)->name = name;
}
