// SPDX-License-Identifier: Apache-2.0

// RMSNorm and RoPE; see norm.go and rope.go.

#if W == 16

// The norm of bf16, 32 values at once, and its amax if that is asked for.
INLINE uint32_t rms_norm_bf16(const int asked, uint16_t *y, uint16_t *total, float *rstd, long rows, const uint16_t *x, const uint16_t *residual, const uint16_t *w, long d, float eps)
{
	vh most = {0};
	for (long r = 0; r < rows; r++, y += d, x += d) {
		const uint16_t *s = residual ? total : x;
		vf even = set1(0), odd = even;
		for (long i = 0; i < d; i += BF16_WIDE) {
			const __mmask32 k = lanes(d - i);
			ask_ahead(x + i), ask_to_write(y + i);
			struct two v = load_two(x + i, k);
			if (residual) {
				ask_ahead(residual + i), ask_to_write(total + i);
				const struct two more = load_two(residual + i, k);
				v = store_two(total + i, k, (struct two){v.even + more.even, v.odd + more.odd});
			}
			even = vfma(v.even, v.even, even), odd = vfma(v.odd, v.odd, odd);
		}
		rstd[r] = 1 / sqrtf(sum(even + odd) / d + eps);
		const vf scale = set1(rstd[r]);
		for (long i = 0; i < d; i += BF16_WIDE) {
			const __mmask32 k = lanes(d - i);
			const struct two v = load_two(s + i, k), by = load_two(w + i, k);
			store_raising(asked, &most, y + i, k, (struct two){v.even * scale * by.even, v.odd * scale * by.odd});
		}
		if (residual)
			residual += d, total += d;
	}
	return largest_bf16(most);
}

// And its gradient.
INLINE uint32_t rms_norm_grad_bf16(const int asked, uint16_t *dx, float *dw, const uint16_t *dy, const uint16_t *s, const float *rstd, long rows, const uint16_t *w, const uint16_t *add, long d)
{
	vh most = {0};
	for (long r = 0; r < rows; r++, dx += d, dy += d, s += d) {
		const vf scale = set1(rstd[r]);
		vf even = set1(0), odd = even;
		for (long i = 0; i < d; i += BF16_WIDE) {
			const __mmask32 k = lanes(d - i);
			ask_ahead(dy + i), ask_ahead(s + i), ask_to_write(dx + i);
			const struct two g = load_two(dy + i, k), by = load_two(w + i, k), v = load_two(s + i, k);
			even = vfma(g.even * by.even, v.even, even), odd = vfma(g.odd * by.odd, v.odd, odd);
		}
		const vf mean = set1(sum(even + odd) * rstd[r] / d);
		for (long i = 0; i < d; i += BF16_WIDE) {
			const __mmask32 k = lanes(d - i);
			const struct two g = load_two(dy + i, k), v = load_two(s + i, k), by = load_two(w + i, k), n = {v.even * scale, v.odd * scale};
			struct two out = {scale * (g.even * by.even - n.even * mean), scale * (g.odd * by.odd - n.odd * mean)};
			add_two(dw + i, k, (struct two){g.even * n.even, g.odd * n.odd});
			if (add) {
				const struct two more = load_two(add + i, k);
				out.even += more.even, out.odd += more.odd;
			}
			store_raising(asked, &most, dx + i, k, out);
		}
		if (add)
			add += d;
	}
	return largest_bf16(most);
}

#endif

INLINE void rms_norm_as(const int type, struct vec y, struct vec total, float *rstd, int64_t rows, struct vec x, struct vec residual, struct vec w, float eps)
{
	y = pin(type, y), total = pin(type, total), x = pin(type, x), residual = pin(type, residual), w = pin(type, w);
	long d = w.n;
	for (long r = 0; r < rows; r++) {
		long o = r * d;
		struct vec s = residual.p ? total : x;
		vf squares = set1(0);
		EACH(i, k, d, {
			vf v = load(x, o + i, k);
			if (residual.p) {
				store(total, o + i, k, v + load(residual, o + i, k));
				v = load(total, o + i, k);
			}
			squares = vfma(v, v, squares);
		});
		rstd[r] = 1 / sqrtf(sum(squares) / d + eps);
		vf scale = set1(rstd[r]);
		EACH(i, k, d, {
			store(y, o + i, k, load(s, o + i, k) * scale * load(w, i, k));
		});
	}
}

static void rms_norm(struct vec y, struct vec total, float *rstd, int64_t rows, struct vec x, struct vec residual, struct vec w, float eps, uint32_t *most)
{
	int type = common(y.type, common(x.type, w.type));
	if (residual.p)
		type = common(type, common(total.type, residual.type));
#if W == 16
	if (type == BF16) {
		if (most)
			*most = rms_norm_bf16(1, y.p, total.p, rstd, rows, x.p, residual.p, w.p, w.n, eps);
		else
			rms_norm_bf16(0, y.p, total.p, rstd, rows, x.p, residual.p, w.p, w.n, eps);
		return;
	}
#endif
	const long d = w.n;
	NEAR_ROWS(most, y, d, rows, r, n, {
		BY_TYPE(type, rms_norm_as, rows_of(y, d, r, n), rows_of(total, d, r, n), rstd + r, n, rows_of(x, d, r, n), rows_of(residual, d, r, n), w, eps);
	});
}

INLINE void rms_norm_grad_as(const int type, struct vec dx, float *dw, struct vec dy, struct vec s, const float *rstd, int64_t rows, struct vec w, struct vec add)
{
	dx = pin(type, dx), dy = pin(type, dy), s = pin(type, s), w = pin(type, w), add = pin(type, add);
	long d = w.n;
	struct vec vdw = floats(dw);
	for (long r = 0; r < rows; r++) {
		long o = r * d;
		vf dot = set1(0), scale = set1(rstd[r]);
		EACH(i, k, d, {
			dot = vfma(load(dy, o + i, k) * load(w, i, k), load(s, o + i, k), dot);
		});
		vf mean = set1(sum(dot) * rstd[r] / d);
		EACH(i, k, d, {
			vf g = load(dy, o + i, k), n = load(s, o + i, k) * scale;
			store(vdw, i, k, vfma(g, n, load(vdw, i, k)));
			vf v = scale * (g * load(w, i, k) - n * mean);
			if (add.p)
				v += load(add, o + i, k);
			store(dx, o + i, k, v);
		});
	}
}

static void rms_norm_grad(struct vec dx, float *dw, struct vec dy, struct vec s, const float *rstd, int64_t rows, struct vec w, struct vec add, uint32_t *most)
{
	int type = common(common(dx.type, dy.type), common(s.type, w.type));
	if (add.p)
		type = common(type, add.type);
#if W == 16
	if (type == BF16) {
		if (most)
			*most = rms_norm_grad_bf16(1, dx.p, dw, dy.p, s.p, rstd, rows, w.p, add.p, w.n);
		else
			rms_norm_grad_bf16(0, dx.p, dw, dy.p, s.p, rstd, rows, w.p, add.p, w.n);
		return;
	}
#endif
	const long d = w.n;
	NEAR_ROWS(most, dx, d, rows, r, n, {
		BY_TYPE(type, rms_norm_grad_as, rows_of(dx, d, r, n), dw, rows_of(dy, d, r, n), rows_of(s, d, r, n), rstd + r, n, w, rows_of(add, d, r, n));
	});
}

INLINE void rope_as(const int type, struct vec x, const float *table, const int32_t *pos, int64_t seq, int64_t heads, int64_t hd, int64_t first, int inverse)
{
	x = pin(type, x);
	struct vec angles = floats(table);
	vf sign = set1(inverse ? -1 : 1);
	// A division for each token, none for its heads, which may have as few as 16 values.
	for (long o = 0, token = first; o < x.n; token++) {
		long at = pos[token % seq] * hd;
		for (long head = 0; head < heads; head++, o += hd) {
			ask_to_write_of(x, o);
			EACH(i, k, hd, {
				vf v = load(x, o + i, k), cs = load(angles, at + i, k);
				// Even lanes: a·cos - b·sin; odd lanes: b·cos + a·sin.
				store(x, o + i, k, sub_add(v, even_pairs(cs), swap_pairs(v) * (odd_pairs(cs) * sign)));
			});
		}
	}
}

static void rope(struct vec x, const float *table, const int32_t *pos, int64_t seq, int64_t heads, int64_t hd, int64_t first, int inverse, uint32_t *most)
{
	const long d = heads * hd;
	NEAR_ROWS(most, x, d, x.n / max_l(1, d), t, n, {
		BY_TYPE(x.type, rope_as, rows_of(x, d, t, n), table, pos, seq, heads, hd, first + t, inverse);
	});
}
