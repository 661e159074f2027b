// SPDX-License-Identifier: Apache-2.0

// Activations and the squared error, element by element; see activation.go and
// squarederror.go.

// normal_below is Φ(x), the normal distribution function, given bell = e^(-x²/2). Of
// -|x| it is bell times a polynomial in 1/(1 + |x|/4), which was interpolated at
// Chebyshev points (relative error 9e-8).
INLINE vf normal_below(vf x, vf bell)
{
	vf size = vmax(x, -x);
	vf u = set1(1.f) / vfma(set1(0.25f), size, set1(1.f));
	vf p = set1(0.0208148884f);
	p = vfma(p, u, set1(-0.0853892299f));
	p = vfma(p, u, set1(0.1037988575f));
	p = vfma(p, u, set1(-0.0397468634f));
	p = vfma(p, u, set1(0.0682739957f));
	p = vfma(p, u, set1(0.0574462582f));
	p = vfma(p, u, set1(0.0818896318f));
	p = vfma(p, u, set1(0.0934395147f));
	p = vfma(p, u, set1(0.0997373968f));
	p = vfma(p, u, set1(0.0997355610f)) * u * bell;
	vi negative = (vi)(x < 0.f);
	return (vf)select_i(negative, (vi)p, (vi)(set1(1.f) - p));
}

INLINE void activate_as(const int type, struct vec y, struct vec x, int f)
{
	y = pin(type, y), x = pin(type, x);
	switch (f) {
	case RELU:
		EACH(i, k, y.n, {
			store(y, i, k, vmax(set1(0.f), load(x, i, k))); // NaN stays
		});
		break;
	case GELU:
		EACH(i, k, y.n, {
			vf v = load(x, i, k);
			store(y, i, k, v * normal_below(v, exp_(v * v * set1(-0.5f))));
		});
		break;
	case GELU_TANH:
		EACH(i, k, y.n, {
			vf v = load(x, i, k);
			store(y, i, k, v * sigmoid(set1(1.595769122f) * v * vfma(v * v, set1(0.044715f), set1(1.f))));
		});
	}
}

static void activate(struct vec y, struct vec x, int f) { BY_TYPE(common(y.type, x.type), activate_as, y, x, f); }

INLINE void activate_grad_as(const int type, struct vec dx, struct vec dy, struct vec x, int f)
{
	dx = pin(type, dx), dy = pin(type, dy), x = pin(type, x);
	switch (f) {
	case RELU:
		EACH(i, k, dx.n, {
			vi above = (vi)(load(x, i, k) > 0.f);
			store(dx, i, k, (vf)(above & (vi)load(dy, i, k)));
		});
		break;
	case GELU:
		EACH(i, k, dx.n, {
			vf v = load(x, i, k), bell = exp_(v * v * set1(-0.5f));
			store(dx, i, k, load(dy, i, k) * vfma(v * bell, set1(0.3989422804f), normal_below(v, bell)));
		});
		break;
	case GELU_TANH:
		EACH(i, k, dx.n, {
			vf v = load(x, i, k), sig = sigmoid(set1(1.595769122f) * v * vfma(v * v, set1(0.044715f), set1(1.f)));
			vf slope = set1(1.595769122f) * vfma(v * v, set1(3 * 0.044715f), set1(1.f));
			store(dx, i, k, load(dy, i, k) * (sig + v * sig * (set1(1.f) - sig) * slope));
		});
	}
}

static void activate_grad(struct vec dx, struct vec dy, struct vec x, int f)
{
	BY_TYPE(common(dx.type, common(dy.type, x.type)), activate_grad_as, dx, dy, x, f);
}

// squared_error widens to double, as sum_squares does.
static double squared_error(struct vec y, struct vec target, float scale)
{
	vd lo = {0}, hi = {0};
	EACH(i, k, y.n, {
		vf e = load(y, i, k) - load(target, i, k);
		lo += low_half(e) * low_half(e);
		hi += high_half(e) * high_half(e);
		store(y, i, k, set1(2 * scale) * e);
	});
	lo += hi;
	double total = 0;
	for (int i = 0; i < W / 2; i++)
		total += lo[i];
	return total;
}
