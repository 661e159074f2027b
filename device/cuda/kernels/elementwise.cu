// SPDX-License-Identifier: Apache-2.0

// What is done to each element by itself.

#include "written.h"

// fill sets bytes, of which there are a multiple of four but for the end.
KERNEL(256, fill, dst y, u32 value) {
	const u64 bytes = y.n() * size_of(y.type()), head = min_of((16 - (u64)y.p % 16) % 16, bytes);
	const u64 body = (bytes - head) / 16, tail = head + body * 16;
	const lanes16 v = {{value, value, value, value}};
	const dst from = {(u8 *)y.p + head, body * 16 << 16 | (y.meta & 0x100) | UINT8};
	for (u64 i = START(1); i < body; i += STRIDE(1)) store(from, i, v);
	for (u64 i = START(1); i < head; i += STRIDE(1)) store<u8>(y, i, (u8)value);
	for (u64 i = tail + START(1); i < bytes; i += STRIDE(1)) store<u8>(y, i, (u8)value);
}

// move copies bytes, sixteen at a time where both sides lie so.
KERNEL(256, move, dst y, src x) {
	const u64 bytes = x.n() * size_of(x.type());
	const u64 body = aligned(x.p, 0, 16) && aligned(y.p, 0, 16) ? bytes / 16 : 0;
	for (u64 i = START(1); i < body; i += STRIDE(1)) store(y, i, load<lanes16>(x, i));
	for (u64 i = body * 16 + START(1); i < bytes; i += STRIDE(1)) store<u8>(y, i, load<u8>(x, i));
}

KERNEL(256, convert, dst y, src x) {
	for (u64 i = START(8); i < x.n(); i += STRIDE(8)) {
		float v[8];
		get8(x, i, x.n(), v);
		put8(y, i, x.n(), v);
	}
}

KERNEL(256, add, dst y, src a, src b) {
	for (u64 i = START(8); i < y.n(); i += STRIDE(8)) {
		float v[8], w[8];
		get8(a, i, y.n(), v);
		get8(b, i, y.n(), w);
		UNROLL for (u32 k = 0; k < 8; k++) v[k] += w[k];
		put8(y, i, y.n(), v);
	}
}

DEV float sigmoid(float x) { return 1 / (1 + expf(-x)); }

KERNEL(256, swiglu, dst h, src gate, src up, dst amax) {
	u32 most = 0;
	for (u64 i = START(8); i < h.n(); i += STRIDE(8)) {
		float g[8], u[8];
		get8(gate, i, h.n(), g);
		get8(up, i, h.n(), u);
		UNROLL for (u32 k = 0; k < 8; k++) g[k] = g[k] * sigmoid(g[k]) * u[k];
		put8(h, i, h.n(), g);
		most = written8(most, amax, h, h.n() - i, g);
	}
	raise_amax<256>(amax, most);
}

KERNEL(256, swiglu_grad, dst dgate, dst dup, src dh, src gate, src up, dst gate_amax, dst up_amax) {
	u32 gate_most = 0, up_most = 0;
	for (u64 i = START(8); i < dh.n(); i += STRIDE(8)) {
		float d[8], g[8], u[8];
		get8(dh, i, dh.n(), d);
		get8(gate, i, dh.n(), g);
		get8(up, i, dh.n(), u);
		UNROLL for (u32 k = 0; k < 8; k++) {
			const float s = sigmoid(g[k]), slope = s * (1 + g[k] * (1 - s));
			u[k] = d[k] * u[k] * slope;
			g[k] = d[k] * g[k] * s;
		}
		put8(dgate, i, dh.n(), u);
		gate_most = written8(gate_most, gate_amax, dgate, dh.n() - i, u);
		put8(dup, i, dh.n(), g);
		up_most = written8(up_most, up_amax, dup, dh.n() - i, g);
	}
	raise_amax<256>(gate_amax, gate_most);
	raise_amax<256>(up_amax, up_most);
}

// The activations, by the numbers of device.Activation.
enum activation : u32 { RELU, GELU, GELU_TANH };

// activate is f(x) and its slope.
DEV float activate_at(u32 f, float x, float &slope) {
	if (f == RELU) {
		slope = x > 0 ? 1 : 0;
		return x > 0 || x != x ? x : 0;
	}
	if (f == GELU) {
		if (fabsf(x) > 30) { // where the bell is 0
			slope = x > 0 ? 1 : 0;
			return x > 0 ? x : x * 0;
		}
		// In the tails a rounding of x/sqrt(2), or of x², is a large part of what is left:
		// both are taken with their errors.
		const float root = 0.70710678f, rest = 1.21016486e-8f; // of sqrt(1/2)
		const float t = -x * root, t_rest = fmaf(-x, root, -t) - x * rest;
		const float square = x * x, square_rest = fmaf(x, x, -square);
		const float bell = expf(-0.5f * square) * (1 - 0.5f * square_rest); // exp(-x²/2), exp(-t²)
		const float below = 0.5f * (erfcf(t) - 1.12837917f * bell * t_rest);
		slope = below + x * 0.39894228f * bell;
		return x * below;
	}
	// (1 + tanh(u))/2 is sigmoid(2u), with u = sqrt(2/pi)·(x + 0.044715·x³).
	const float two = 1.5957691f, s = sigmoid(two * (x + 0.044715f * x * x * x));
	slope = s + x * s * (1 - s) * two * (1 + 3 * 0.044715f * x * x);
	return x * s;
}

KERNEL(256, activate, dst y, src x, u32 f) {
	for (u64 i = START(8); i < y.n(); i += STRIDE(8)) {
		float v[8], slope;
		get8(x, i, y.n(), v);
		UNROLL for (u32 k = 0; k < 8; k++) v[k] = activate_at(f, v[k], slope);
		put8(y, i, y.n(), v);
	}
}

KERNEL(256, activate_grad, dst dx, src dy, src x, u32 f) {
	for (u64 i = START(8); i < dx.n(); i += STRIDE(8)) {
		float d[8], v[8], slope;
		get8(dy, i, dx.n(), d);
		get8(x, i, dx.n(), v);
		UNROLL for (u32 k = 0; k < 8; k++) {
			activate_at(f, v[k], slope);
			d[k] *= slope;
		}
		put8(dx, i, dx.n(), d);
	}
}

KERNEL(32, reciprocal, dst y, src n) {
	if (THREAD == 0) store<float>(y, 0, (float)(1 / (double)load<i32>(n, 0)));
}
