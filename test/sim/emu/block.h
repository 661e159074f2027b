// SPDX-License-Identifier: Apache-2.0

// A block that runs: its threads, what they wait for, its shared memory.

#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "registry.h"

namespace emu {

// moved counts the bytes of a tensor that a launch reads and writes.
struct moved {
	const void *tensor;
	uint64_t read, written;
};

// here is where the running thread is. Numbers of the launch stand beside, as kernels
// read them often.
struct here {
	uint32_t thread, threads, number, blocks;
	moved tensors[64]; // by a hash of their address; those that find no place share the last
};
extern thread_local here *now;

inline moved &counter(const void *tensor) {
	const uint64_t h = reinterpret_cast<uint64_t>(tensor) * 0x9E3779B97F4A7C15 >> 58;
	for (uint64_t i = 0; i < 63; i++) {
		moved &m = now->tensors[(h + i) % 63];
		if (m.tensor == tensor) return m;
		if (!m.tensor) {
			m.tensor = tensor;
			return m;
		}
	}
	return now->tensors[63];
}

// span is memory of a block whose index is checked.
template <class T>
struct span {
	T *p;
	uint32_t n;
	T &operator[](uint64_t i) const;
	span operator+(uint64_t i) const;
};

[[noreturn]] void fault(int line, const char *format, ...) __attribute__((format(printf, 2, 3)));

template <class T>
T &span<T>::operator[](uint64_t i) const {
	if (__builtin_expect(i >= n, 0)) fault(0, "shared memory of %u elements has no element %llu", n, (unsigned long long)i);
	return p[i];
}
template <class T>
span<T> span<T>::operator+(uint64_t i) const {
	if (i > n) fault(0, "shared memory of %u elements has no element %llu", n, (unsigned long long)i);
	return {p + i, (uint32_t)(n - i)};
}

// A SHARED of the text is a site; each has its place in the memory of every block.
uint32_t new_site();
void *shared_memory(uint32_t site, size_t bytes);
void *dynamic_memory(size_t *bytes);

template <class T>
span<T> shared(uint32_t site, uint32_t n) {
	return {static_cast<T *>(shared_memory(site, n * sizeof(T))), n};
}
template <class T>
span<T> dynamic() {
	size_t bytes;
	T *p = static_cast<T *>(dynamic_memory(&bytes));
	return {p, (uint32_t)(bytes / sizeof(T))};
}

void sync_block(int line);

// A copy to shared memory that a thread begins may come at any time until it waits for all
// of its own: what is read before is poison. Without a source it is of zeros.
void copy_begin(void *to, const void *from, size_t bytes, int line);
void copies_end();

// board is what the lanes of a warp brought to a meeting.
struct board {
	alignas(16) unsigned char slot[32][32];
};
const board &meet(const void *brought, size_t bytes, int line);

template <class T>
T lane(const board &b, uint32_t l) {
	static_assert(sizeof(T) <= sizeof b.slot[0], "what a lane brings is small");
	T v;
	memcpy(&v, b.slot[l], sizeof v);
	return v;
}

// bound is a kernel's function, by its arguments.
using ranges = std::vector<sim_range>;
struct argument {
	const char *text;
	int index;
};
struct bound {
	void (*run)(void *const *params);
	void (*touches)(void *const *params, const char *const *names, ranges &out);
	std::vector<size_t> bytes; // of each argument
};

struct registered {
	registered(const char *name, uint32_t threads, const char *arguments, bound b);
};

} // namespace emu
