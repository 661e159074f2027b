// SPDX-License-Identifier: Apache-2.0

// Amax and casts; see cast.go, and dtype/float8.go for the method. The bits
// are those of the Go functions.

INLINE uint32_t largest_bf16(vh a)
{
	const vu both = (vu)a;
	return largest((vi)max_i((vi)(both << 16), (vi)(both & 0xFFFF0000)));
}

INLINE vh magnitudes(const uint16_t *p) { return load_vh(p) & 0x7FFF; }

// amax_bf16 compares n bit patterns as they are, without widening them.
INLINE uint32_t amax_bf16(const uint16_t *p, long n)
{
	vh a = {0}, b = {0};
	long i = 0;
	for (; i + 2 * BF16_WIDE <= n; i += 2 * BF16_WIDE) {
		a = max_vh(a, magnitudes(p + i));
		b = max_vh(b, magnitudes(p + i + BF16_WIDE));
	}
	for (; i < n; i += BF16_WIDE) {
		uint16_t rest[BF16_WIDE] = {0};
		memcpy(rest, p + i, 2 * min_l(BF16_WIDE, n - i));
		a = max_vh(a, magnitudes(rest));
	}
	return largest_bf16(max_vh(a, b));
}

static uint32_t amax(struct vec x)
{
	if (x.type == BF16)
		return amax_bf16(x.p, x.n);
	vi big = {0};
	EACH(i, k, x.n, {
		big = max_i(big, (vi)load(floats(x.p), i, k) & 0x7FFFFFFF);
	});
	return largest(big);
}

// NEAR is how many elements of a tensor a kernel that has no registers for it writes before it takes their amax: few
// enough to be in the first cache still.
enum { NEAR = 512 };

// raise makes an amax, if it is asked for, that of x too.
INLINE void raise(uint32_t *most, struct vec x)
{
	if (!most)
		return;
	const uint32_t a = amax(x);
	*most = a > *most ? a : *most;
}

// NEAR_PARTS runs its body for n rows from row r on, until it has for all: of a kernel that writes d values a row, some rows at a
// time if an amax of them is asked for.
#define NEAR_PARTS(asked, d, rows, r, n, ...)                                                    \
	do {                                                                                     \
		const long all_ = (rows), some_ = max_l(1, (asked) ? NEAR / max_l(1, d) : all_); \
		for (long r = 0; r < all_; r += some_) {                                         \
			const long n = min_l(some_, all_ - r);                                   \
			__VA_ARGS__                                                              \
		}                                                                                \
	} while (0)

// NEAR_ROWS is NEAR_PARTS of a kernel that writes y alone, and takes its amax.
#define NEAR_ROWS(most, y, d, rows, r, n, ...)               \
	do {                                                 \
		if (most)                                    \
			*(most) = 0;                         \
		NEAR_PARTS(most, d, rows, r, n, {            \
			__VA_ARGS__                          \
			raise(most, rows_of(y, d, r, n));    \
		});                                          \
	} while (0)

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
		if (x.type == BF16 && !fold.p) {
			dst[r] = amax_bf16((const uint16_t *)x.p + r * cols, cols);
			continue;
		}
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
		long height = min_l(BESIDE, rows - r0), from = 0;
		if (x.type == BF16 && !fold.p)
			for (; from + BF16_WIDE <= cols; from += BF16_WIDE) {
				vh big = {0};
				for (long r = r0; r < r0 + height; r++)
					big = max_vh(big, magnitudes((const uint16_t *)x.p + r * cols + from));
				uint16_t found[BF16_WIDE];
				memcpy(found, &big, sizeof found);
				for (long i = 0; i < BF16_WIDE; i += W) {
					struct vec top = floats((float *)dst);
					store(top, from + i, W, (vf)max_i((vi)load(top, from + i, W), load_u16(found + i) << 16));
				}
			}
		EACH(rest, k, cols - from, {
			long c = from + rest;
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

// What a format's codes are made of: mantissa bits, the bias of the exponent, the largest
// code, and zeros: codes below that of 1.0 of the smallest normal binade, counted on, from
// which on there is nothing but 0.
struct format {
	int man, bias, most, zeros;
};

INLINE struct format format_of(const int type)
{
	return type == E4M3 ? (struct format){3, 7, 0x7E, 3 * 8 + 1} : (struct format){2, 15, 0x7B, 2 * 4 + 1};
}

// columns are how many scales a table can have.
enum { COLUMNS = 256 };

#if W == 16

// table casts bf16 by scales of one mantissa. The product's mantissa is one of 128,
// because the source's has seven bits, so what its code adds to that of the exponent is
// looked up in two registers, for 32 values at once.
struct table {
	__m512i low, high;         // for each mantissa of seven bits: code(1.m · the scale's mantissa) - code(1)
	int32_t mantissa;          // of the scale that the two are for
	int bottom;                // what the code would be of a source's exponent 0, negated, and less zeros
	uint16_t bottoms[COLUMNS]; // where each column has its own scale
};

enum { NONE = -1, MANTISSA = 0x7FFFFF, LEAST = -100, GREATEST = 100 };

// make_table makes low and high.
INLINE void make_table(struct table *t, const struct format f, int32_t mantissa)
{
	uint8_t codes[128];
	vi m = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	for (int i = 0; i < 128; i += W) {
		vi one = set1_i(127 << 23), q = (vi)((vf)(one + ((m + i) << 16)) * (vf)(one + mantissa)) - one;
		store_u8(codes + i, (q + ((1 << (22 - f.man)) - 1) + ((q >> (23 - f.man)) & 1)) >> (23 - f.man));
	}
	t->low = _mm512_loadu_si512(codes), t->high = _mm512_loadu_si512(codes + 64);
	t->mantissa = mantissa;
}

// prepare makes the table that of a scale, unless that is too large, too small or NaN for
// it, or a new table would have few uses. Scales that are powers of two share one.
INLINE int prepare(struct table *t, const int type, float scale, long uses)
{
	const struct format f = format_of(type);
	int32_t u;
	memcpy(&u, &scale, 4);
	const int exponent = (u >> 23) - 127;
	if (exponent < LEAST || exponent > GREATEST) // or negative
		return 0;
	if (t->mantissa != (u & MANTISSA)) {
		if (uses < 128)
			return 0;
		make_table(t, f, u & MANTISSA);
	}
	t->bottom = ((127 - f.bias - exponent) << f.man) - f.zeros;
	return 1;
}

// prepare_columns does so for n scales, if all are powers of two.
INLINE int prepare_columns(struct table *t, const int type, const float *scale, long n)
{
	const struct format f = format_of(type);
	vi wrong = {0};
	for (long i = 0; i < n; i += W) {
		long k = min_l(W, n - i);
		vi u = (vi)_mm512_mask_loadu_ps(set1(1), (1u << k) - 1, scale + i), exponent = (u >> 23) - 127;
		wrong |= u & MANTISSA;
		wrong |= (exponent < LEAST) | (exponent > GREATEST);
		store_u16(t->bottoms + i, ((127 - f.bias - exponent) << f.man) - f.zeros);
	}
	if (_mm512_test_epi32_mask((__m512i)wrong, (__m512i)wrong))
		return 0;
	if (t->mantissa != 0)
		make_table(t, f, 0);
	return 1;
}

// by_table casts n values by one scale or, if each column has its own, by so many.
// Subnormal results, which are rounded at another bit, and NaN are rare: 32 values of
// which one is so are done as others are.
INLINE void by_table(const int type, const int each, const struct table *t, uint8_t *dst, const uint16_t *src, long n, const float *scale)
{
	const struct format f = format_of(type);
	const __m512i low = t->low, high = t->high, exponents = _mm512_set1_epi16(0x7F80 >> (7 - f.man)), one = _mm512_set1_epi16(1);
	__m512i bottom = _mm512_set1_epi16(t->bottom);
	for (long i = 0; i < n; i += 2 * W) {
		const __mmask32 k = lanes(n - i);
		ask_ahead(src + i), ask_to_write(dst + i);
		const __m512i u = _mm512_maskz_loadu_epi16(k, src + i);
		if (each)
			bottom = _mm512_loadu_si512(t->bottoms + i);
		__m512i code = _mm512_and_si512(_mm512_srli_epi16(u, 7 - f.man), exponents);
		code = _mm512_add_epi16(code, _mm512_maskz_permutex2var_epi8(0x5555555555555555, low, u, high));
		code = _mm512_subs_epu16(code, bottom);
		__mmask32 odd = _mm512_cmplt_epu16_mask(_mm512_sub_epi16(code, one), _mm512_set1_epi16(f.zeros + (1 << f.man) - 1));
		odd |= _mm512_cmpgt_epu16_mask(_mm512_add_epi16(u, u), _mm512_set1_epi16((short)0xFF00));
		code = _mm512_min_epu16(_mm512_subs_epu16(code, _mm512_set1_epi16(f.zeros)), _mm512_set1_epi16(f.most));
		const int or_and = 0xF8; // a | (b & c)
		code = _mm512_ternarylogic_epi32(code, _mm512_srli_epi16(u, 8), _mm512_set1_epi16(0x80), or_and);
		if (__builtin_expect((odd & k) != 0, 0)) {
			vf s = set1(*scale), s2 = s;
			if (each) {
				s = _mm512_maskz_loadu_ps(k & 0xFFFF, scale + i);
				s2 = _mm512_maskz_loadu_ps(k >> 16, scale + i + W);
			}
			vi a = encode_as(type, (vf)((vi)_mm512_cvtepu16_epi32(_mm512_castsi512_si256(u)) << 16) * s);
			vi b = encode_as(type, (vf)((vi)_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(u, 1)) << 16) * s2);
			code = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16((__m512i)a)), _mm512_cvtepi32_epi16((__m512i)b), 1);
		}
		_mm512_mask_cvtepi16_storeu_epi8(dst + i, k, code);
	}
}

#else // there is no such table

struct table {
	int32_t mantissa;
};
enum { NONE = -1 };

INLINE int prepare(struct table *t, const int type, float scale, long uses) { return 0; }
INLINE int prepare_columns(struct table *t, const int type, const float *scale, long n) { return 0; }
INLINE void by_table(const int type, const int each, const struct table *t, uint8_t *dst, const uint16_t *src, long n, const float *scale) {}

#endif

INLINE void cast_as(const int type, const int src_type, uint8_t *dst, struct vec src, float scale)
{
	struct table t = {.mantissa = NONE};
	src.type = src_type;
	if (src_type == BF16 && prepare(&t, type, scale, src.n)) {
		by_table(type, 0, &t, dst, src.p, src.n, &scale);
		return;
	}
	EACH(i, k, src.n, {
		ask_ahead_of(src, i), ask_to_write(dst + i);
		store_codes(dst + i, k, encode_as(type, load(src, i, k) * set1(scale)));
	});
}

static void cast(struct vec dst, struct vec src, float scale)
{
	BY_CAST(dst.type, src.type, cast_as, dst.p, src, scale);
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

// A part of a matrix that is cast, from column c on, and whether its columns' scales
// are in the table.
struct columns {
	long c, n;
	int ready;
};

// codes_of casts those columns of row r.
INLINE void codes_of(const int type, struct table *t, uint8_t *dst, struct vec src, long r, const struct columns *of, long cols, struct factors fold,
		     struct factors scale)
{
	const long at = r * cols + of->c;
	const uint16_t *p = (const uint16_t *)src.p + at;
	if (of->ready) {
		by_table(type, 1, t, dst, p, of->n, scale.p + of->c);
		return;
	}
	if (src.type == BF16 && !fold.p && scale.p && !scale.col && prepare(t, type, scale.p[r * scale.row], scale.row ? of->n : src.n)) {
		by_table(type, 0, t, dst, p, of->n, scale.p + r * scale.row);
		return;
	}
	EACH(i, k, of->n, {
		store_codes(dst + i, k, encode_as(type, load(src, at + i, k) * factor(fold, r, of->c + i, k) * factor(scale, r, of->c + i, k)));
	});
}

// columns_of is at most so many columns from c on.
INLINE struct columns columns_of(const int type, struct table *t, struct vec src, long c, long most, long cols, struct factors fold, struct factors scale)
{
	struct columns of = {.c = c, .n = min_l(most, cols - c)};
	of.ready = src.type == BF16 && !fold.p && scale.p && scale.col && prepare_columns(t, type, scale.p + c, of.n);
	return of;
}

// A square of bytes, which is transposed where it is near: rows of the result lie far
// apart, often at addresses that share few sets of the cache, so each is written as a
// whole line.
enum { SQUARE = 64 };

// store_turned writes the columns of in [height,width] from out on, rows bytes apart.
INLINE void store_turned(uint8_t *out, uint8_t in[SQUARE][SQUARE], long height, long width, long rows)
{
	uint8_t turned[SQUARE][SQUARE];
	for (long c = 0; c < width; c += 16)
		for (long r = 0; r < height; r += 16) { // what lies beyond is not written
			__m128i block[16];
			for (int i = 0; i < 16; i++)
				block[i] = _mm_loadu_si128((const void *)(in[r + i] + c));
			transpose16(block);
			for (int i = 0; i < 16; i++)
				_mm_storeu_si128((void *)(turned[c + i] + r), block[i]);
		}
	if (height == SQUARE)
		for (long c = 0; c < width; c++)
			memcpy(out + c * rows, turned[c], SQUARE);
	else
		for (long c = 0; c < width; c++)
			memcpy(out + c * rows, turned[c], height);
}

INLINE void cast_matrix_as(const int type, const int src_type, uint8_t *out, uint8_t *out_t, struct vec src, long rows, long cols,
			   long lo, long hi, struct factors fold, struct factors scale)
{
	struct table t = {.mantissa = NONE};
	src.type = src_type;
	if (!out_t) {
		const long most = scale.col ? COLUMNS : cols;
		for (long c = 0; c < cols; c += most) {
			const struct columns of = columns_of(type, &t, src, c, most, cols, fold, scale);
			for (long r = lo; r < hi; r++)
				codes_of(type, &t, out + r * cols + c, src, r, &of, cols, fold, scale);
		}
		return;
	}
	uint8_t codes[SQUARE][SQUARE] = {0};
	for (long r0 = lo; r0 < hi; r0 += SQUARE)
		for (long c = 0; c < cols; c += SQUARE) {
			const long height = min_l(SQUARE, hi - r0);
			const struct columns of = columns_of(type, &t, src, c, SQUARE, cols, fold, scale);
			for (long r = 0; r < height; r++) {
				codes_of(type, &t, codes[r], src, r0 + r, &of, cols, fold, scale);
				if (out)
					memcpy(out + (r0 + r) * cols + c, codes[r], of.n);
			}
			store_turned(out_t + c * rows + r0, codes, height, of.n, rows);
		}
}

static void cast_matrix(struct vec dst, struct vec dst_t, struct vec src, int64_t rows, int64_t cols, int64_t lo, int64_t hi,
			struct factors fold, struct factors scale)
{
	BY_CAST(dst.p ? dst.type : dst_t.type, src.type, cast_matrix_as, dst.p, dst_t.p, src, rows, cols, lo, hi, fold, scale);
}

INLINE void transpose_bytes(uint8_t *dst, const uint8_t *src, long rows, long cols, long lo, long hi)
{
	uint8_t in[SQUARE][SQUARE] = {0};
	for (long r0 = lo; r0 < hi; r0 += SQUARE)
		for (long c0 = 0; c0 < cols; c0 += SQUARE) {
			long height = min_l(SQUARE, hi - r0), width = min_l(SQUARE, cols - c0);
			for (long r = 0; r < height; r++)
				memcpy(in[r], src + (r0 + r) * cols + c0, width);
			store_turned(dst + c0 * rows + r0, in, height, width, rows);
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
