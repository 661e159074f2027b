// SPDX-License-Identifier: Apache-2.0

// Global memory. A kernel's arguments say what it does to each tensor: src is read, dst
// is written and may be read. Both are an address with a type and a number of elements,
// of sixteen bytes, so that whoever launches knows what is touched, and emu.h its bounds.

#pragma once

// src is a tensor that a kernel reads.
struct src {
	const void *p;
	u64 meta; // its type in the low 8 bits, whether a kernel writes it in bit 8, its elements from 16 on

	METHOD u32 type() const { return (u32)meta & 0xFF; }
	METHOD u64 n() const { return meta >> 16; }
	METHOD bool none() const { return p == nullptr; }
};

// dst is one that it writes.
struct dst {
	void *p;
	u64 meta;

	METHOD u32 type() const { return (u32)meta & 0xFF; }
	METHOD u64 n() const { return meta >> 16; }
	METHOD bool none() const { return p == nullptr; }
	METHOD operator src() const { return {p, meta}; }
};

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
DEV void check(const src &, u64, u32, u32) {}
#endif

// load and store are element i of memory that is an array of T, whatever its type says.
template <class T>
DEV T load(const src &x, u64 i) {
	check(x, i * sizeof(T), sizeof(T), 1);
	return global_load<T>(x.p, i);
}
template <class T>
DEV void store(const dst &y, u64 i, T v) {
	check(y, i * sizeof(T), sizeof(T), 2);
	global_store<T>(y.p, i, v);
}

// raise is a maximum over all threads that name the element.
DEV void raise(const dst &y, u64 i, u32 v) {
	check(y, i * 4, 4, 3);
	global_max_u32(y.p, i, v);
}
DEV void raise_signed(const dst &y, u64 i, i32 v) {
	check(y, i * 4, 4, 3);
	global_max_i32(y.p, i, v);
}

// get is element i as a float32, put rounds v to it. They are for high precision; those
// of any type are for float8 too, to which put_any saturates.
DEV float get(const src &x, u64 i) { return x.type() == FLOAT32 ? load<float>(x, i) : from_bf16(load<u16>(x, i)); }
DEV void put(const dst &y, u64 i, float v) {
	if (y.type() == FLOAT32)
		store<float>(y, i, v);
	else
		store<u16>(y, i, to_bf16(v));
}

DEV bool is_float8(u32 t) { return t == E4M3 || t == E5M2; }

DEV float get_any(const src &x, u64 i) { return is_float8(x.type()) ? decode(x.type(), load<u8>(x, i)) : get(x, i); }
DEV void put_any(const dst &y, u64 i, float v) {
	if (is_float8(y.type()))
		store<u8>(y, i, encode(y.type(), v));
	else
		put(y, i, v);
}

// lanes are sixteen and eight bytes, moved at once.
struct alignas(16) lanes16 {
	u32 v[4];
};
struct alignas(8) lanes8 {
	u32 v[2];
};

DEV bool aligned(const void *p, u64 bytes, u32 to) { return (((u64)p + bytes) & (to - 1)) == 0; }

// whole8 reports whether elements i to i+7 are there, and lie so that they move at once.
DEV bool whole8(const void *p, u32 size, u64 i, u64 end) { return i + 8 <= end && aligned(p, i * size, size == 1 ? 8 : 16); }

// pick and place are v[k] of registers, for a k that is no constant.
DEV float pick(const float (&v)[8], u32 k) {
	float f = v[0];
	UNROLL for (u32 j = 1; j < 8; j++) f = j == k ? v[j] : f;
	return f;
}
DEV void place(float (&v)[8], u32 k, float f) {
	UNROLL for (u32 j = 0; j < 8; j++) v[j] = j == k ? f : v[j];
}

// get8 is elements i to i+7, with 0 in place of those from end on, and put8 writes those
// before it.
DEV void get8_at_once(const src &x, u64 i, float (&v)[8]) {
	if (x.type() == FLOAT32) {
		const lanes16 a = load<lanes16>(x, i / 4), b = load<lanes16>(x, i / 4 + 1);
		UNROLL for (u32 k = 0; k < 4; k++) v[k] = as_float(a.v[k]), v[4 + k] = as_float(b.v[k]);
	} else {
		const lanes16 a = load<lanes16>(x, i / 8);
		UNROLL for (u32 k = 0; k < 4; k++) v[2 * k] = as_float(a.v[k] << 16), v[2 * k + 1] = as_float(a.v[k] & 0xFFFF0000);
	}
}
DEV void get8(const src &x, u64 i, u64 end, float (&v)[8]) {
	if (whole8(x.p, size_of(x.type()), i, end)) {
		get8_at_once(x, i, v);
		return;
	}
	ROLL for (u32 k = 0; k < 8; k++) place(v, k, i + k < end ? get(x, i + k) : 0);
}
DEV void put8_at_once(const dst &y, u64 i, const float (&v)[8]) {
	if (y.type() == FLOAT32) {
		store(y, i / 4, lanes16{{as_bits(v[0]), as_bits(v[1]), as_bits(v[2]), as_bits(v[3])}});
		store(y, i / 4 + 1, lanes16{{as_bits(v[4]), as_bits(v[5]), as_bits(v[6]), as_bits(v[7])}});
	} else {
		store(y, i / 8, lanes16{{pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7])}});
	}
}
DEV void put8(const dst &y, u64 i, u64 end, const float (&v)[8]) {
	if (whole8(y.p, size_of(y.type()), i, end)) {
		put8_at_once(y, i, v);
		return;
	}
	ROLL for (u32 k = 0; k < 8; k++)
		if (i + k < end) put(y, i + k, pick(v, k));
}

DEV void get8_any(const src &x, u64 i, u64 end, float (&v)[8]) {
	if (!whole8(x.p, size_of(x.type()), i, end)) {
		ROLL for (u32 k = 0; k < 8; k++) place(v, k, i + k < end ? get_any(x, i + k) : 0);
	} else if (is_float8(x.type())) {
		const lanes8 a = load<lanes8>(x, i / 8);
		UNROLL for (u32 k = 0; k < 8; k++) v[k] = decode(x.type(), (u8)(a.v[k / 4] >> k % 4 * 8));
	} else {
		get8_at_once(x, i, v);
	}
}
DEV void put8_any(const dst &y, u64 i, u64 end, const float (&v)[8]) {
	if (!whole8(y.p, size_of(y.type()), i, end)) {
		ROLL for (u32 k = 0; k < 8; k++)
			if (i + k < end) put_any(y, i + k, pick(v, k));
	} else if (is_float8(y.type())) {
		store(y, i / 8, lanes8{{encode4(y.type(), v), encode4(y.type(), v + 4)}});
	} else {
		put8_at_once(y, i, v);
	}
}

// table is a list of tensors in device memory: rows of dst, then for each row, and
// once more, the number of chunks before it. Blocks take chunks, so that one launch
// keeps all of them busy with any number of tensors.
struct table {
	const void *p;
	u64 meta; // rows in the low 32 bits, tensors a row above

	METHOD u32 rows() const { return (u32)meta; }
	METHOD u32 cols() const { return (u32)(meta >> 32); }
	METHOD src memory() const { return {p, ((u64)rows() * cols() * 16 + (rows() + 1) * 8) << 16 | UINT8}; }
};

// CHUNK is the elements of a chunk.
#define CHUNK 4096

DEV dst tensor_of(const table &t, u32 row, u32 col) {
	const u64 at = ((u64)row * t.cols() + col) * 2;
	return {(void *)load<u64>(t.memory(), at), load<u64>(t.memory(), at + 1)};
}

DEV u64 chunks_before(const table &t, u32 row) {
	return load<u64>(t.memory(), (u64)t.rows() * t.cols() * 2 + row);
}

// row_of is the row that has chunk c.
DEV u32 row_of(const table &t, u64 c) {
	u32 lo = 0, hi = t.rows();
	while (hi - lo > 1) {
		const u32 mid = (lo + hi) / 2;
		if (chunks_before(t, mid) <= c)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}
