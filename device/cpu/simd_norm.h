// SPDX-License-Identifier: Apache-2.0

// RMSNorm and RoPE; see norm.go and rope.go.

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

static void rms_norm(struct vec y, struct vec total, float *rstd, int64_t rows, struct vec x, struct vec residual, struct vec w, float eps)
{
	int type = common(y.type, common(x.type, w.type));
	if (residual.p)
		type = common(type, common(total.type, residual.type));
	BY_TYPE(type, rms_norm_as, y, total, rstd, rows, x, residual, w, eps);
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

static void rms_norm_grad(struct vec dx, float *dw, struct vec dy, struct vec s, const float *rstd, int64_t rows, struct vec w, struct vec add)
{
	int type = common(common(dx.type, dy.type), common(s.type, w.type));
	if (add.p)
		type = common(type, add.type);
	BY_TYPE(type, rms_norm_grad_as, dx, dw, dy, s, rstd, rows, w, add);
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
			EACH(i, k, hd, {
				vf v = load(x, o + i, k), cs = load(angles, at + i, k);
				// Even lanes: a·cos - b·sin; odd lanes: b·cos + a·sin.
				store(x, o + i, k, sub_add(v, even_pairs(cs), swap_pairs(v) * (odd_pairs(cs) * sign)));
			});
		}
	}
}

static void rope(struct vec x, const float *table, const int32_t *pos, int64_t seq, int64_t heads, int64_t hd, int64_t first, int inverse)
{
	BY_TYPE(x.type, rope_as, x, table, pos, seq, heads, hd, first, inverse);
}
