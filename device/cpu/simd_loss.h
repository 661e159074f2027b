// SPDX-License-Identifier: Apache-2.0

// Cross-entropy in two phases; see loss.go. A row is read for its maximum and
// for the sum of exponentials, then for the gradient; an exponential computed
// twice costs less than one stored.

#if W == 16

// nearest is what x is above or below the nearest integer; 0 of infinities.
INLINE vf nearest(vf x) { return _mm512_reduce_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

// exp_near is e^x of x <= 0, 1 at 0, within 3.5e-6, relative, but for the rounding of x·log2(e). Its polynomial for 2^r
// on |r| <= 1/2 was interpolated at Chebyshev points.
INLINE vf exp_near(vf x)
{
	x *= set1(1.44269504f);
	const vf r = nearest(x);
	vf p = set1(9.666368515e-03f);
	p = vfma(p, r, set1(5.592197584e-02f));
	p = vfma(p, r, set1(2.402234904e-01f));
	p = vfma(p, r, set1(6.931210452e-01f));
	return scale2(vfma(p, r, set1(1.f)), x - r);
}

// exp_close is that by exp2_'s polynomial, within 2e-7.
INLINE vf exp_close(vf x)
{
	x *= set1(1.44269504f);
	const vf r = nearest(x);
	return scale2(near_power(r), x - r);
}

// sum_bf16 is Σ exp(x - max) of a row of bf16, and the maximum, 32 values at once.
static double sum_bf16(const uint16_t *x, long width, float *most)
{
	const __m512i nothing = _mm512_set1_epi16((short)0xFF80); // -infinity
	vf big = set1(-INFINITY), other = big, total = set1(0), odd = total;
	for (long i = 0; i < width; i += BF16_WIDE) {
		ask_ahead(x + i);
		const struct two v = widen_two((vi)_mm512_mask_loadu_epi16(nothing, lanes(width - i), x + i));
		big = vmax(big, v.even), other = vmax(other, v.odd);
	}
	*most = top(vmax(big, other));
	const vf m = set1(*most == -INFINITY ? 0 : *most); // where all are, the sum is 0, not NaN
	for (long i = 0; i < width; i += BF16_WIDE) {
		const struct two v = widen_two((vi)_mm512_mask_loadu_epi16(nothing, lanes(width - i), x + i));
		total += exp_close(v.even - m), odd += exp_close(v.odd - m);
	}
	return sum(total + odd);
}

// softmax_bf16 is x = exp(x - m)·by.
static void softmax_bf16(uint16_t *x, long width, vf m, vf by)
{
	for (long i = 0; i < width; i += BF16_WIDE) {
		const __mmask32 k = lanes(width - i);
		const struct two v = load_two(x + i, k);
		store_two(x + i, k, (struct two){exp_near(v.even - m) * by, exp_near(v.odd - m) * by});
	}
}

#else // rows of bf16 are as others

INLINE double sum_bf16(const uint16_t *x, long width, float *most) { return 0; }
INLINE void softmax_bf16(uint16_t *x, long width, vf m, vf by) {}

#endif

// largest_of is the largest, lane by lane, of n values, whole vectors: four at once, as one would wait for the one before.
INLINE vf largest_of(struct vec x, long n)
{
	enum { BESIDE = 4 };
	vf big[BESIDE];
	UNROLL for (int j = 0; j < BESIDE; j++)
		big[j] = set1(-INFINITY);
	long i = 0;
	for (; i + BESIDE * W <= n; i += BESIDE * W)
		UNROLL for (int j = 0; j < BESIDE; j++) {
			ask_ahead_of(x, i + j * W);
			big[j] = vmax(big[j], load(x, i + j * W, W));
		}
	for (; i < n; i += W)
		big[0] = vmax(big[0], load(x, i, W));
	return vmax(vmax(big[0], big[1]), vmax(big[2], big[3]));
}

INLINE void loss_stats_as(const int type, struct loss_row *rows, int64_t n, struct vec logits, const int32_t *targets, int64_t offset)
{
	logits = pin(type, logits);
	long width = logits.n / n;
	for (long r = 0; r < n; r++) {
		rows[r] = (struct loss_row){0};
		if (targets[r] == IGNORED)
			continue;
		struct vec x = part(logits, r * width, width);
		long whole = width / W * W, rest = width - whole, at = targets[r] - offset;
		if (0 <= at && at < width)
			rows[r].target = load(x, at, 1)[0];
		if (W == 16 && x.type == BF16) {
			rows[r].sum = sum_bf16(x.p, width, &rows[r].max);
			continue;
		}
		vf total = set1(0);
		float most = top(largest_of(x, whole));
		for (long i = whole; i < width; i++)
			most = fmaxf(most, load(x, i, 1)[0]);
		// Where all are -infinity the sum is 0, not NaN.
		vf m = set1(most == -INFINITY ? 0 : most);
		for (long i = 0; i < whole; i += W)
			total += exp_(load(x, i, W) - m);
		double all = sum(total);
		for (long i = 0; i < rest; i++)
			all += exp_(load(x, whole + i, 1) - m)[0];
		rows[r].max = most;
		rows[r].sum = all;
	}
}

static void loss_stats(struct loss_row *rows, int64_t n, struct vec logits, const int32_t *targets, int64_t offset)
{
	BY_TYPE(logits.type, loss_stats_as, rows, n, logits, targets, offset);
}

INLINE void loss_grad_as(const int type, struct loss_row *rows, int64_t n, struct vec logits, const int32_t *targets, int64_t offset, float scale)
{
	logits = pin(type, logits);
	long width = logits.n / n;
	for (long r = 0; r < n; r++) {
		struct vec x = part(logits, r * width, width);
		rows[r].loss = 0;
		if (targets[r] == IGNORED) {
			memset(x.p, 0, width * size_of(x.type));
			continue;
		}
		double all = rows[r].sum;
		float label = rows[r].target, most = rows[r].max;
		long at = targets[r] - offset;
		rows[r].loss = log(all) - ((double)label - most);
		vf m = set1(most), inv = set1((float)(scale / all));
		if (W == 16 && x.type == BF16)
			softmax_bf16(x.p, width, m, inv);
		else
			EACH(i, k, width, {
				store(x, i, k, exp_(load(x, i, k) - m) * inv);
			});
		if (at < 0 || at >= width)
			continue;
		// The label's own gradient, from its logit as it was.
		vf p = exp_(set1(label) - m) * set1((float)(1 / all)) - set1(1.f);
		store(x, at, 1, p * set1(scale));
	}
}

static void loss_grad(struct loss_row *rows, int64_t n, struct vec logits, const int32_t *targets, int64_t offset, float scale)
{
	BY_TYPE(logits.type, loss_grad_as, rows, n, logits, targets, offset, scale);
}

// cross_entropy is both phases of one row after the other.
INLINE void cross_entropy_as(const int type, struct loss_row *rows, int64_t n, struct vec logits, const int32_t *targets, float scale)
{
	long width = logits.n / n;
	for (long r = 0; r < n; r++) {
		struct vec x = part(logits, r * width, width);
		loss_stats_as(type, rows + r, 1, x, targets + r, 0);
		loss_grad_as(type, rows + r, 1, x, targets + r, 0, scale);
	}
}

static void cross_entropy(struct loss_row *rows, int64_t n, struct vec logits, const int32_t *targets, float scale)
{
	BY_TYPE(logits.type, cross_entropy_as, rows, n, logits, targets, scale);
}
