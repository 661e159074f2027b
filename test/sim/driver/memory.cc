// SPDX-License-Identifier: Apache-2.0

// Memory of devices. An address says its device; memory that nobody has, or has no more,
// cannot be touched; what is fresh is poisoned, and has zones around that must stay as
// they are.

#include <sys/mman.h>

#include <cstring>

#include "state.h"

namespace sim {

static const uint64_t range_bytes = 64ull << 30, zone = 256, page = 4096;

// 0xFF is NaN in every floating type and, without its sign, the largest int32.
static const unsigned char poison = 0xFF, fence = 0xA5;

CUresult allocate(device &d, uint64_t bytes, uint64_t *address) {
	if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
	machine &m = all();
	if (d.live + bytes > m.memory_of_each) return CUDA_ERROR_OUT_OF_MEMORY;
	if (!d.base) {
		void *p = mmap(nullptr, range_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
		d.base = d.next = (uint64_t)p;
	}
	const uint64_t size = (bytes + 2 * zone + page - 1) / page * page;
	if (d.next + size > d.base + range_bytes) return CUDA_ERROR_OUT_OF_MEMORY;
	allocation a{d.next + zone, bytes, d.next, size, {}, false};
	if (mprotect((void *)a.mapped, size, PROT_READ | PROT_WRITE) != 0) return CUDA_ERROR_OUT_OF_MEMORY;
	memset((void *)a.mapped, fence, zone);
	memset((void *)a.address, poison, bytes);
	memset((void *)(a.address + bytes), fence, size - zone - bytes);
	d.next += size;
	d.live += bytes;
	m.peak = std::max(m.peak, d.live);
	*address = a.address;
	d.memory.emplace(a.address, std::move(a));
	count("allocations");
	return CUDA_SUCCESS;
}

// check_zones finds writes beside an allocation.
void check_zones(allocation &a) {
	const auto is_fence = [](uint64_t at, uint64_t n) {
		for (uint64_t i = 0; i < n; i++)
			if (((unsigned char *)at)[i] != fence) return false;
		return true;
	};
	const uint64_t end = a.address + a.bytes, behind = std::min<uint64_t>(zone, a.mapped + a.mapped_bytes - end);
	if (is_fence(a.address - zone, zone) && is_fence(end, behind)) return;
	found("something wrote beside an allocation of %llu bytes", (unsigned long long)a.bytes);
	memset((void *)(a.address - zone), fence, zone);
	memset((void *)end, fence, behind);
}

void check_zones(device &d) {
	for (auto &[address, a] : d.memory) check_zones(a);
}

static void unmap(device &d, allocation &a) {
	check_zones(a);
	mprotect((void *)a.mapped, a.mapped_bytes, PROT_NONE);
	madvise((void *)a.mapped, a.mapped_bytes, MADV_DONTNEED);
	d.live -= a.bytes;
}

CUresult release(device &d, uint64_t address) {
	const auto it = d.memory.find(address);
	if (it == d.memory.end()) {
		found("an address is freed that no memory begins at, or no more");
		return CUDA_ERROR_INVALID_VALUE;
	}
	freed(it->second, *d.host_clock);
	unmap(d, it->second);
	d.memory.erase(it);
	return CUDA_SUCCESS;
}

// release_all is the end of a context.
void release_all(device &d) {
	for (auto &[address, a] : d.memory) unmap(d, a);
	d.memory.clear();
	d.next = d.base;
}

static allocation *within(std::map<uint64_t, allocation> &memory, uint64_t address, uint64_t bytes) {
	auto it = memory.upper_bound(address);
	if (it == memory.begin()) return nullptr;
	allocation &a = (--it)->second;
	return address + bytes <= a.address + a.bytes ? &a : nullptr;
}

device *device_of(uint64_t address) {
	for (auto &d : all().devices)
		if (d->base && address >= d->base && address < d->base + range_bytes) return d.get();
	return nullptr;
}

allocation *owner(uint64_t address, uint64_t bytes) {
	if (device *d = device_of(address)) return within(d->memory, address, bytes);
	return within(all().pinned, address, bytes);
}

} // namespace sim
