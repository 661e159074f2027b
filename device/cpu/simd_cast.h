// SPDX-License-Identifier: Apache-2.0

// Amax and casts; see cast.go, and dtype/float8.go for the method. The bits
// are those of the Go functions.

INLINE int32_t largest(vi v)
{
	int32_t a = 0;
	for (int i = 0; i < W; i++)
		a = v[i] > a ? v[i] : a;
	return a;
}

static uint32_t amax(struct vec x)
{
	vi big = {0};
	if (x.type == F32) {
		EACH(i, k, x.n, {
			big = max_i(big, (vi)load(x, i, k) & 0x7FFFFFFF);
		});
	} else {
		// Two elements a lane: the upper as it is, the lower shifted up. An
		// upper one brings the lower's bits along, which the end masks away.
		long pairs = x.n / 2;
		struct vec two = {.p = x.p, .n = pairs, .type = F32};
		EACH(i, k, pairs, {
			vi u = (vi)load(two, i, k);
			big = max_i(big, max_i(u & 0x7FFFFFFF, u << 16 & 0x7FFFFFFF));
		});
		if (x.n % 2)
			big = max_i(big, (vi)load(x, x.n - 1, 1) & 0x7FFFFFFF);
		big &= (int32_t)0xFFFF0000;
	}
	return largest(big);
}

// factor is that of k elements of row r, from column c on.
INLINE vf factor(struct factors f, long r, long c, long k)
{
	if (!f.p)
		return set1(1);
	return f.col ? load(floats(f.p), c, k) : set1(f.p[r * f.row]);
}

INLINE void amax_rows_as(const int type, uint32_t *dst, long rows, struct vec x, struct factors fold)
{
	x = pin(type, x);
	long cols = rows ? x.n / rows : 0;
	for (long r = 0; r < rows; r++) {
		vi big = {0};
		EACH(c, k, cols, {
			vf v = load(x, r * cols + c, k) * factor(fold, r, c, k);
			if (k < W) { // where nothing was, 0 times infinity may be
				float buf[W];
				store_f32(buf, v);
				v = load(floats(buf), 0, k);
			}
			big = max_i(big, (vi)v & 0x7FFFFFFF);
		});
		dst[r] = largest(big);
	}
}

static void amax_rows(uint32_t *dst, int64_t rows, struct vec x, struct factors fold)
{
	BY_TYPE(x.type, amax_rows_as, dst, rows, x, fold);
}

// amax_columns goes over a few rows side by side, all of which lie in order.
INLINE void amax_columns_as(const int type, uint32_t *dst, long cols, struct vec x, struct factors fold)
{
	enum { BESIDE = 8 };
	x = pin(type, x);
	long rows = cols ? x.n / cols : 0;
	for (long r0 = 0; r0 < rows; r0 += BESIDE) {
		long height = min_l(BESIDE, rows - r0);
		EACH(c, k, cols, {
			vi big = (vi)load(floats((float *)dst), c, k);
			for (long r = r0; r < r0 + height; r++)
				big = max_i(big, (vi)(load(x, r * cols + c, k) * factor(fold, r, c, k)) & 0x7FFFFFFF);
			store((struct vec){.p = dst, .type = F32}, c, k, (vf)big);
		});
	}
}

static void amax_columns(uint32_t *dst, int64_t cols, struct vec x, struct factors fold)
{
	BY_TYPE(x.type, amax_columns_as, dst, cols, x, fold);
}

// encode gives a code in each lane. man is the format's mantissa bits, bias its
// exponent's, most the bits of its largest value.
INLINE vi encode(vf v, const int man, const int bias, const int32_t most)
{
	vi u = (vi)v, abs = u & 0x7FFFFFFF, nan = abs > 0x7F800000;
	vi a = min_i(abs, set1_i(most));
	vi q = a - ((127 - bias) << 23);
	vi normal = (q + ((1 << (22 - man)) - 1) + ((q >> (23 - man)) & 1)) >> (23 - man);
	vf magic = (vf)set1_i((127 + 24 - bias - man) << 23);
	vi subnormal = (vi)((vf)a + magic) - (vi)magic;
	vi code = select_i(a < ((128 - bias) << 23), subnormal, normal) | ((u >> 24) & 0x80);
	return select_i(nan, set1_i(0x7F), code);
}

INLINE vi encode_as(int type, vf v)
{
	return type == E4M3 ? encode(v, 3, 7, 0x43E00000) : encode(v, 2, 15, 0x47600000);
}

// store_codes stores the low bytes of k lanes.
INLINE void store_codes(uint8_t *p, long k, vi codes)
{
	if (k == W) {
		store_u8(p, codes);
		return;
	}
	uint8_t buf[W];
	store_u8(buf, codes);
	memcpy(p, buf, k);
}

// BY_CAST calls body with both types of a cast as constants.
#define BY_CAST(to, from, body, ...)                                                                         \
	do                                                                                                   \
		if ((to) == E4M3)                                                                            \
			(from) == F32 ? body(E4M3, F32, __VA_ARGS__) : body(E4M3, BF16, __VA_ARGS__);        \
		else                                                                                         \
			(from) == F32 ? body(E5M2, F32, __VA_ARGS__) : body(E5M2, BF16, __VA_ARGS__);        \
	while (0)

INLINE void cast_as(const int type, const int src_type, uint8_t *dst, struct vec src, vf scale)
{
	src.type = src_type;
	EACH(i, k, src.n, {
		store_codes(dst + i, k, encode_as(type, load(src, i, k) * scale));
	});
}

static void cast(struct vec dst, struct vec src, float scale)
{
	BY_CAST(dst.type, src.type, cast_as, dst.p, src, set1(scale));
}

// transpose16 turns 16 rows of 16 bytes into columns, by four interleavings of
// the upper with the lower half.
INLINE void transpose16(__m128i r[16])
{
	__m128i t[16];
	for (int step = 0; step < 4; step++) {
		for (int i = 0; i < 8; i++) {
			t[2 * i] = _mm_unpacklo_epi8(r[i], r[i + 8]);
			t[2 * i + 1] = _mm_unpackhi_epi8(r[i], r[i + 8]);
		}
		memcpy(r, t, sizeof t);
	}
}

INLINE vi codes_of(const int type, struct vec src, long r, long c, long k, long cols, struct factors fold, struct factors scale)
{
	return encode_as(type, load(src, r * cols + c, k) * factor(fold, r, c, k) * factor(scale, r, c, k));
}

INLINE void cast_matrix_as(const int type, const int src_type, uint8_t *out, uint8_t *out_t, struct vec src, long rows, long cols,
			   long lo, long hi, struct factors fold, struct factors scale)
{
	src.type = src_type;
	if (!out_t) {
		for (long r = lo; r < hi; r++)
			EACH(c, k, cols, {
				store_codes(out + r * cols + c, k, codes_of(type, src, r, c, k, cols, fold, scale));
			});
		return;
	}
	for (long r0 = lo; r0 < hi; r0 += 16) {
		long height = min_l(16, hi - r0);
		for (long c0 = 0; c0 < cols; c0 += 16) {
			long width = min_l(16, cols - c0);
			__m128i block[16];
			if (height < 16 || width < 16)
				memset(block, 0, sizeof block);
			for (long r = 0; r < height; r++) {
				EACH(c, k, width, {
					store_u8((uint8_t *)&block[r] + c, codes_of(type, src, r0 + r, c0 + c, k, cols, fold, scale));
				});
				if (out)
					memcpy(out + (r0 + r) * cols + c0, &block[r], width);
			}
			transpose16(block);
			for (long c = 0; c < width; c++)
				memcpy(out_t + (c0 + c) * rows + r0, &block[c], height);
		}
	}
}

static void cast_matrix(struct vec dst, struct vec dst_t, struct vec src, int64_t rows, int64_t cols, int64_t lo, int64_t hi,
			struct factors fold, struct factors scale)
{
	BY_CAST(dst.p ? dst.type : dst_t.type, src.type, cast_matrix_as, dst.p, dst_t.p, src, rows, cols, lo, hi, fold, scale);
}

INLINE void transpose_bytes(uint8_t *dst, const uint8_t *src, long rows, long cols, long lo, long hi)
{
	for (long r0 = lo; r0 < hi; r0 += 16) {
		long height = min_l(16, hi - r0);
		for (long c0 = 0; c0 < cols; c0 += 16) {
			long width = min_l(16, cols - c0);
			__m128i block[16];
			for (long r = 0; r < height; r++)
				memcpy(&block[r], src + (r0 + r) * cols + c0, width);
			transpose16(block);
			for (long c = 0; c < width; c++)
				memcpy(dst + (c0 + c) * rows + r0, &block[c], height);
		}
	}
}

// TRANSPOSE turns blocks in memory that is close: rows of dst lie far apart,
// often at addresses that share few sets of the cache.
#define TRANSPOSE(type)                                                                            \
	for (long r0 = lo; r0 < hi; r0 += 16)                                                      \
		for (long c0 = 0; c0 < cols; c0 += 16) {                                           \
			long height = min_l(16, hi - r0), width = min_l(16, cols - c0);            \
			type block[16][16];                                                        \
			for (long r = 0; r < height; r++)                                          \
				for (long c = 0; c < width; c++)                                   \
					block[c][r] = ((const type *)src)[(r0 + r) * cols + c0 + c]; \
			for (long c = 0; c < width; c++)                                           \
				memcpy((type *)dst + (c0 + c) * rows + r0, block[c], height * sizeof(type)); \
		}

static void transpose(void *dst, const void *src, int64_t rows, int64_t cols, int64_t lo, int64_t hi, int size)
{
	if (size == 1) {
		transpose_bytes(dst, src, rows, cols, lo, hi);
	} else if (size == 2) {
		TRANSPOSE(uint16_t)
	} else {
		TRANSPOSE(uint32_t)
	}
}

static void widen(struct vec dst, struct vec src, const float *values)
{
	const uint8_t *code = src.p;
	if (dst.type == F32) {
		float *p = dst.p;
		for (long i = 0; i < dst.n; i++)
			p[i] = values[code[i]];
		return;
	}
	EACH(i, k, dst.n, {
		float buf[W];
		for (long j = 0; j < k; j++)
			buf[j] = values[code[i + j]];
		store(dst, i, k, load_f32(buf));
	});
}
