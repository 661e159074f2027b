// SPDX-License-Identifier: Apache-2.0

// The part of emu.h that knows tensors: bounds, counts, and what a launch touches.

#pragma once

namespace emu {
[[noreturn]] void out_of_bounds(const void *tensor, uint64_t size, uint64_t at, uint32_t bytes, int writes, int line);

inline uint64_t bytes_of(u32 type, u64 n) { return n * size_of(type); }

inline void add(ranges &out, argument a, const void *p, uint64_t bytes, int writes) {
	if (bytes > 0) out.push_back({a.text, a.index, (uint64_t)p, bytes, writes});
}
inline void touched<src>::add(const src &x, argument what, ranges &out) { emu::add(out, what, x.p, bytes_of(x.type(), x.n()), 0); }
inline void touched<dst>::add(const dst &x, argument what, ranges &out) { emu::add(out, what, x.p, bytes_of(x.type(), x.n()), 1); }
inline void touched<table>::add(const table &x, argument what, ranges &out) {
	const src rows = x.memory();
	emu::add(out, what, x.p, rows.n(), 0);
	for (u64 i = 0; i < (u64)x.rows() * x.cols(); i++) {
		const dst t = {(void *)global_load<u64>(x.p, 2 * i), global_load<u64>(x.p, 2 * i + 1)};
		emu::add(out, what, t.p, bytes_of(t.type(), t.n()), t.meta >> 8 & 1);
	}
}
} // namespace emu

// check is called before each access, with its bytes; access 1 reads, 2 writes, 3 both.
static inline void check(const src &x, u64 at, u32 bytes, u32 access, int line) {
	const uint64_t size = emu::bytes_of(x.type(), x.n());
	const bool writes = access & 2;
	if (__builtin_expect(at + bytes > size || (writes && !(x.meta >> 8 & 1)), 0)) emu::out_of_bounds(x.p, size, at, bytes, writes, line);
	emu::moved &m = emu::counter(x.p);
	if (access & 1) m.read += bytes;
	if (writes) m.written += bytes;
}
