// SPDX-License-Identifier: Apache-2.0

// LayerNorm; see layernorm.go.

INLINE void layer_norm_as(const int type, struct vec y, float *mean, float *rstd, int64_t rows, struct vec x, struct vec w, struct vec b, float eps)
{
	y = pin(type, y), x = pin(type, x), w = pin(type, w), b = pin(type, b);
	long d = w.n;
	for (long r = 0; r < rows; r++) {
		long o = r * d;
		vf total = set1(0);
		EACH(i, k, d, {
			total += load(x, o + i, k);
		});
		mean[r] = sum(total) / d;
		vf center = set1(mean[r]), squares = set1(0);
		long whole = d / W * W, rest = d - whole;
		for (long i = 0; i < whole; i += W) {
			vf v = load(x, o + i, W) - center;
			squares = vfma(v, v, squares);
		}
		float all = sum(squares);
		for (long i = 0; i < rest; i++) { // not the lanes past the row, which are -mean
			float v = load(x, o + whole + i, 1)[0] - mean[r];
			all += v * v;
		}
		rstd[r] = 1 / sqrtf(all / d + eps);
		vf scale = set1(rstd[r]);
		EACH(i, k, d, {
			store(y, o + i, k, (load(x, o + i, k) - center) * scale * load(w, i, k) + load(b, i, k));
		});
	}
}

static void layer_norm(struct vec y, float *mean, float *rstd, int64_t rows, struct vec x, struct vec w, struct vec b, float eps)
{
	BY_TYPE(common(common(y.type, x.type), common(w.type, b.type)), layer_norm_as, y, mean, rstd, rows, x, w, b, eps);
}

INLINE void layer_norm_grad_as(const int type, struct vec dx, float *dw, struct vec dy, struct vec x, const float *mean, const float *rstd, int64_t rows, struct vec w, struct vec add)
{
	dx = pin(type, dx), dy = pin(type, dy), x = pin(type, x), w = pin(type, w), add = pin(type, add);
	long d = w.n;
	struct vec vdw = floats(dw);
	for (long r = 0; r < rows; r++) {
		long o = r * d;
		vf center = set1(mean[r]), scale = set1(rstd[r]), total = set1(0), dot = set1(0);
		EACH(i, k, d, {
			vf g = load(dy, o + i, k) * load(w, i, k); // 0 in the lanes past the row
			total += g;
			dot = vfma(g, (load(x, o + i, k) - center) * scale, dot);
		});
		vf mean_g = set1(sum(total) / d), mean_gn = set1(sum(dot) / d);
		EACH(i, k, d, {
			vf g = load(dy, o + i, k), n = (load(x, o + i, k) - center) * scale;
			store(vdw, i, k, vfma(g, n, load(vdw, i, k)));
			vf v = scale * (g * load(w, i, k) - mean_g - n * mean_gn);
			if (add.p)
				v += load(add, o + i, k);
			store(dx, o + i, k, v);
		});
	}
}

static void layer_norm_grad(struct vec dx, float *dw, struct vec dy, struct vec x, const float *mean, const float *rstd, int64_t rows, struct vec w, struct vec add)
{
	int type = common(common(dx.type, dy.type), common(x.type, w.type));
	if (add.p)
		type = common(type, add.type);
	BY_TYPE(type, layer_norm_grad_as, dx, dw, dy, x, mean, rstd, rows, w, add);
}
