// SPDX-License-Identifier: Apache-2.0

// SwiGLU and its gradient; see swiglu.go. Where all is bf16 and vectors are of 512 bits, a sigmoid
// takes half the time of one whose error must vanish in float32: power's exponential, and an
// approximate reciprocal with one step of Newton's.

INLINE vf sigmoid(vf x) { return set1(1.f) / (set1(1.f) + exp_(-x)); }

#if W == 16

// sigmoid_near is 1/(1 + e^-x) within 2.8e-6, relative, and 0 below -87, from where on a bf16 product
// with it may be 0 too.
INLINE vf sigmoid_near(vf x)
{
	vf d = set1(1.f) + power(4, x * set1(-1.44269504f)), y = _mm512_rcp14_ps(d);
	return _mm512_maskz_mul_ps(_mm512_cmp_ps_mask(x, set1(-87.f), _CMP_NLT_UQ), y, _mm512_fnmadd_ps(d, y, set1(2.f)));
}

// swiglu_bf16 is h = silu(gate)·up, and its amax if that is asked for.
INLINE uint32_t swiglu_bf16(const int asked, uint16_t *h, const uint16_t *gate, const uint16_t *up, long n)
{
	vh most = {0};
	for (long i = 0; i < n; i += BF16_WIDE) {
		const __mmask32 k = lanes(n - i);
		ask_ahead(gate + i), ask_ahead(up + i), ask_to_write(h + i);
		const struct two g = load_two(gate + i, k), u = load_two(up + i, k);
		store_raising(asked, &most, h + i, k, (struct two){g.even * sigmoid_near(g.even) * u.even, g.odd * sigmoid_near(g.odd) * u.odd});
	}
	return largest_bf16(most);
}

// slope is silu'(g), of silu = g·sig and sig.
INLINE vf slope(vf silu, vf sig) { return vfma(silu, set1(1.f) - sig, sig); }

// swiglu_grad_bf16 is dup = dh·silu(gate) and dgate = dh·up·silu'(gate), and the amax of each if it is asked for.
INLINE void swiglu_grad_bf16(const int asked, uint32_t *most_gate, uint32_t *most_up, uint16_t *dgate, uint16_t *dup, const uint16_t *dh, const uint16_t *gate, const uint16_t *up, long n)
{
	vh gate_most = {0}, up_most = {0};
	for (long i = 0; i < n; i += BF16_WIDE) {
		const __mmask32 k = lanes(n - i);
		ask_ahead(dh + i), ask_ahead(gate + i), ask_ahead(up + i), ask_to_write(dgate + i), ask_to_write(dup + i);
		const struct two d = load_two(dh + i, k), g = load_two(gate + i, k), u = load_two(up + i, k);
		const struct two sig = {sigmoid_near(g.even), sigmoid_near(g.odd)}, silu = {g.even * sig.even, g.odd * sig.odd};
		store_raising(asked, &gate_most, dgate + i, k, (struct two){d.even * u.even * slope(silu.even, sig.even), d.odd * u.odd * slope(silu.odd, sig.odd)});
		store_raising(asked, &up_most, dup + i, k, (struct two){d.even * silu.even, d.odd * silu.odd});
	}
	if (most_gate)
		*most_gate = largest_bf16(gate_most);
	if (most_up)
		*most_up = largest_bf16(up_most);
}

#endif

INLINE void swiglu_as(const int type, struct vec h, struct vec gate, struct vec up)
{
	h = pin(type, h), gate = pin(type, gate), up = pin(type, up);
	EACH(i, k, h.n, {
		ask_ahead_of(gate, i), ask_ahead_of(up, i), ask_to_write_of(h, i);
		vf g = load(gate, i, k);
		store(h, i, k, g * sigmoid(g) * load(up, i, k));
	});
}

static void swiglu(struct vec h, struct vec gate, struct vec up, uint32_t *most)
{
	const int type = common(h.type, common(gate.type, up.type));
#if W == 16
	if (type == BF16) {
		if (most)
			*most = swiglu_bf16(1, h.p, gate.p, up.p, h.n);
		else
			swiglu_bf16(0, h.p, gate.p, up.p, h.n);
		return;
	}
#endif
	NEAR_ROWS(most, h, 1, h.n, i, n, {
		BY_TYPE(type, swiglu_as, part(h, i, n), part(gate, i, n), part(up, i, n));
	});
}

INLINE void swiglu_grad_as(const int type, struct vec dgate, struct vec dup, struct vec dh, struct vec gate, struct vec up)
{
	dgate = pin(type, dgate), dup = pin(type, dup), dh = pin(type, dh), gate = pin(type, gate), up = pin(type, up);
	EACH(i, k, dh.n, {
		ask_ahead_of(dh, i), ask_ahead_of(gate, i), ask_ahead_of(up, i), ask_to_write_of(dgate, i), ask_to_write_of(dup, i);
		vf d = load(dh, i, k), g = load(gate, i, k), u = load(up, i, k), sig = sigmoid(g);
		store(dgate, i, k, d * u * sig * (set1(1.f) + g * (set1(1.f) - sig)));
		store(dup, i, k, d * g * sig);
	});
}

static void swiglu_grad(struct vec dgate, struct vec dup, struct vec dh, struct vec gate, struct vec up, uint32_t *most_gate, uint32_t *most_up)
{
	const int type = common(common(dgate.type, dup.type), common(dh.type, common(gate.type, up.type)));
#if W == 16
	if (type == BF16) {
		if (most_gate || most_up)
			swiglu_grad_bf16(1, most_gate, most_up, dgate.p, dup.p, dh.p, gate.p, up.p, dh.n);
		else
			swiglu_grad_bf16(0, NULL, NULL, dgate.p, dup.p, dh.p, gate.p, up.p, dh.n);
		return;
	}
#endif
	if (most_gate)
		*most_gate = 0;
	if (most_up)
		*most_up = 0;
	NEAR_PARTS(most_gate || most_up, 2, dh.n, i, n, {
		BY_TYPE(type, swiglu_grad_as, part(dgate, i, n), part(dup, i, n), part(dh, i, n), part(gate, i, n), part(up, i, n));
		raise(most_gate, part(dgate, i, n));
		raise(most_up, part(dup, i, n));
	});
}
