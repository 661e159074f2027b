// SPDX-License-Identifier: Apache-2.0

// What dev.h has on a GPU, for g++. The threads of a block are fibers (fiber.h) that
// change places where they wait for one another; a block's shared memory is poisoned
// before it starts; accesses are held to the bounds of their tensors and counted.

#pragma once

#include <cmath>
#include <cstring>
#include <tuple>
#include <utility>

#include "block.h"

#define DEV static inline
#define METHOD inline
#define UNROLL
#define ROLL
#define SHARED(type, name, n) \
	static const uint32_t name##_site = emu::new_site(); \
	const emu::span<type> name = emu::shared<type>(name##_site, n)
#define DYNAMIC(type, name) const emu::span<type> name = emu::dynamic<type>()
#define SYNC() emu::sync_block(__LINE__)
#define THREAD (emu::now->thread)
#define THREADS (emu::now->threads)
#define BLOCK (emu::now->number)
#define BLOCKS (emu::now->blocks)

// A kernel registers itself, with the text of its arguments.
#define KERNEL(T, name, ...) \
	static void name(__VA_ARGS__); \
	static const emu::registered registered_##name(#name, T, #__VA_ARGS__, emu::binding<&name>::make()); \
	static void name(__VA_ARGS__)

template <class T>
using Shared = const emu::span<T> &;

DEV float as_float(u32 u) {
	float f;
	memcpy(&f, &u, 4);
	return f;
}
DEV u32 as_bits(float f) {
	u32 u;
	memcpy(&u, &f, 4);
	return u;
}

DEV float mul_rn(float a, float b) {
	float r = a * b;
	asm("" : "+m"(r)); // hides the product from a contraction
	return r;
}
DEV float add_rn(float a, float b) { return a + b; }

template <class T>
DEV T global_load(const void *p, u64 i) {
	T v;
	memcpy(&v, static_cast<const char *>(p) + i * sizeof(T), sizeof(T));
	return v;
}
template <class T>
DEV void global_store(void *p, u64 i, T v) { memcpy(static_cast<char *>(p) + i * sizeof(T), &v, sizeof(T)); }
template <class T>
DEV T global_max(void *p, u64 i, T v) {
	const T old = global_load<T>(p, i);
	if (v > old) global_store(p, i, v);
	return old;
}
DEV u32 global_max_u32(void *p, u64 i, u32 v) { return global_max(p, i, v); }
DEV i32 global_max_i32(void *p, u64 i, i32 v) { return global_max(p, i, v); }

struct src;
struct dst;
struct table;
static void check(const src &x, u64 at, u32 bytes, u32 access, int line = __builtin_LINE());

// All lanes of a warp meet; each has what the others brought.
template <class T>
DEV T shuffle_xor(T v, u32 mask) {
	return emu::lane<T>(emu::meet(&v, sizeof(T), __builtin_LINE()), THREAD % 32 ^ mask);
}
DEV void sync_warp() { emu::meet(nullptr, 0, __builtin_LINE()); }

// warp_sum and warp_max meet once, and go the way of the shuffles they stand for.
template <class T, class F>
DEV T butterfly(T v, F f) {
	const emu::board &all = emu::meet(&v, sizeof(T), __builtin_LINE());
	T x[32], y[32];
	for (u32 l = 0; l < 32; l++) x[l] = emu::lane<T>(all, l);
	for (u32 m = 16; m > 0; m /= 2) {
		for (u32 l = 0; l < 32; l++) y[l] = f(x[l], x[l ^ m]);
		memcpy(x, y, sizeof x);
	}
	return x[THREAD % 32];
}
template <class T>
DEV T warp_sum(T v) {
	return butterfly(v, [](T a, T b) { return a + b; });
}
template <class T>
DEV T warp_max(T v) {
	return butterfly(v, [](T a, T b) { return b > a ? b : a; });
}

// What a launch touches is read off its arguments.
namespace emu {
template <class T>
struct touched {
	static void add(const T &, argument, ranges &) {}
};
template <>
struct touched<src> {
	static void add(const src &x, argument what, ranges &out);
};
template <>
struct touched<dst> {
	static void add(const dst &x, argument what, ranges &out);
};
template <>
struct touched<table> {
	static void add(const table &x, argument what, ranges &out);
};

template <auto F>
struct binding;
template <class... A, void (*F)(A...)>
struct binding<F> {
	template <size_t... I>
	static void call(void *const *params, std::index_sequence<I...>) {
		F(*static_cast<const A *>(params[I])...);
	}
	static void run(void *const *params) { call(params, std::index_sequence_for<A...>{}); }
	template <size_t... I>
	static void each(void *const *params, const char *const *names, ranges &out, std::index_sequence<I...>) {
		(touched<A>::add(*static_cast<const A *>(params[I]), argument{names[I], (int)I}, out), ...);
	}
	static void touches(void *const *params, const char *const *names, ranges &out) {
		each(params, names, out, std::index_sequence_for<A...>{});
	}
	static bound make() { return {run, touches, {sizeof(A)...}}; }
};
} // namespace emu
