// SPDX-License-Identifier: Apache-2.0

// Kernels that go once over memory, element by element; see elementwise.go,
// optim.go.

static void convert(struct vec dst, struct vec src)
{
	EACH(i, k, dst.n, {
		store(dst, i, k, load(src, i, k));
	});
}

INLINE void add_as(const int type, struct vec dst, struct vec a, struct vec b)
{
	dst = pin(type, dst), a = pin(type, a), b = pin(type, b);
	EACH(i, k, dst.n, {
		ask_ahead_of(a, i), ask_ahead_of(b, i), ask_to_write_of(dst, i);
		store(dst, i, k, load(a, i, k) + load(b, i, k));
	});
}

static void add(struct vec dst, struct vec a, struct vec b)
{
	BY_TYPE(common(dst.type, common(a.type, b.type)), add_as, dst, a, b);
}

static void add_bias(struct vec y, struct vec bias)
{
	for (long r = 0; r < y.n; r += bias.n)
		EACH(i, k, bias.n, {
			store(y, r + i, k, load(y, r + i, k) + load(bias, i, k));
		});
}

static void sum_rows(float *dst, int64_t cols, struct vec x)
{
	memset(dst, 0, 4 * cols);
	struct vec d = floats(dst);
	for (long r = 0; r < x.n; r += cols)
		EACH(i, k, cols, {
			store(d, i, k, load(d, i, k) + load(x, r + i, k));
		});
}

// sum_squares widens to double: the sum of a billion squares keeps its digits.
static double sum_squares(struct vec x)
{
	vd lo = {0}, hi = {0};
	EACH(i, k, x.n, {
		vf v = load(x, i, k);
		lo += low_half(v) * low_half(v);
		hi += high_half(v) * high_half(v);
	});
	lo += hi;
	double total = 0;
	for (int i = 0; i < W / 2; i++)
		total += lo[i];
	return total;
}

static void adamw(struct vec p, struct vec g, struct vec m, struct vec v, struct adamw c)
{
	EACH(i, k, p.n, {
		vf param = load(p, i, k), first = load(m, i, k), second = load(v, i, k);
		vf grad = load(g, i, k) * set1(c.grad) + set1(c.l2) * param;
		first += set1(c.m) * (grad - first);
		second = set1(c.v) * second + set1(c.g2) * grad * grad;
		store(m, i, k, first);
		store(v, i, k, second);
		store(p, i, k, param * set1(c.decay) - set1(c.step) * first / (vroot(second) / set1(c.root) + set1(c.eps)));
	});
}
