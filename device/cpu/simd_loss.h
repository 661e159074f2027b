// SPDX-License-Identifier: Apache-2.0

// Cross-entropy in two phases; see loss.go. A row is read for its maximum and
// for the sum of exponentials, then for the gradient; an exponential computed
// twice costs less than one stored.

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
		vf big = set1(-INFINITY), total = set1(0);
		for (long i = 0; i < whole; i += W)
			big = vmax(big, load(x, i, W));
		float most = top(big);
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
		if (0 <= at && at < width)
			rows[r].target = load(x, at, 1)[0];
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
