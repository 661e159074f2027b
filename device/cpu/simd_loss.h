// SPDX-License-Identifier: Apache-2.0

// Cross-entropy; see loss.go. A row is read for its maximum, for the sum of
// exponentials and for the gradient; but for the first time it comes from the
// cache, and an exponential computed twice costs less than one stored.

INLINE void cross_entropy_as(const int type, double *sum_of_losses, struct vec logits, const int32_t *targets, int64_t rows, float scale)
{
	logits = pin(type, logits);
	double loss = 0;
	for (long r = 0; r < rows; r++) {
		long vocab = logits.n / rows, size = logits.type == SIMD_F32 ? 4 : 2;
		struct vec x = {(char *)logits.p + r * vocab * size, vocab, logits.type};
		if (targets[r] == -100) {
			memset(x.p, 0, vocab * size);
			continue;
		}
		long whole = vocab / W * W, rest = vocab - whole;
		vf big = set1(-INFINITY), total = set1(0);
		for (long i = 0; i < whole; i += W)
			big = vmax(big, load(x, i, W));
		float most = top(big);
		for (long i = whole; i < vocab; i++)
			most = fmaxf(most, load(x, i, 1)[0]);
		vf m = set1(most);
		for (long i = 0; i < whole; i += W)
			total += exp_(load(x, i, W) - m);
		double all = sum(total);
		for (long i = 0; i < rest; i++)
			all += exp_(load(x, whole + i, 1) - m)[0];
		float label = load(x, targets[r], 1)[0];
		loss += log(all) - ((double)label - most);
		vf inv = set1((float)(scale / all));
		EACH(i, k, vocab, {
			store(x, i, k, exp_(load(x, i, k) - m) * inv);
		});
		// The label's own gradient, from its logit as it was.
		vf p = exp_(set1(label) - m) * set1((float)(1 / all)) - set1(1.f);
		store(x, targets[r], 1, p * set1(scale));
	}
	*sum_of_losses = loss;
}

static double cross_entropy(struct vec logits, const int32_t *targets, int64_t rows, float scale)
{
	double loss;
	BY_TYPE(logits.type, cross_entropy_as, &loss, logits, targets, rows, scale);
	return loss;
}
