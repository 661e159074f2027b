// SPDX-License-Identifier: Apache-2.0

// MatMul's kernels on AVX-512: f32 FMA, the bf16 dot product, and fp16 FMA in
// chunks. Each keeps 16 sums of 16 or 32 lanes in registers: 8 rows, each a
// broadcast from strip a, by 2 strips of b. A step makes 10 loads for its 16
// multiplications, which leaves the multipliers the bottleneck.

//go:build cgo && amd64

#include "matmul_avx512.h"
#include "matmul_finish_avx512.h"

enum { ROWS = 8, STRIPS = 2 };

// to[32] = (add ? to : 0) + 32 sums.
INLINE void put(float *to, __m512 low, __m512 high, int add)
{
	if (add) {
		low = _mm512_add_ps(_mm512_load_ps(to), low);
		high = _mm512_add_ps(_mm512_load_ps(to + 16), high);
	}
	_mm512_store_ps(to, low);
	_mm512_store_ps(to + 16, high);
}

static void kernel_f32(int64_t steps, const uint32_t *a, struct strides by, const uint32_t *b, float *block, int add)
{
	const float *b0 = (const float *)b, *b1 = b0 + steps * STRIP;
	__m512 sum[ROWS][STRIPS];
	UNROLL for (int i = 0; i < ROWS; i++)
		sum[i][0] = sum[i][1] = _mm512_setzero_ps();
	for (int64_t s = 0; s < steps * STRIP; s += STRIP, a += by.step) {
		__m512 vb0 = _mm512_load_ps(b0 + s), vb1 = _mm512_load_ps(b1 + s);
		UNROLL for (int i = 0; i < ROWS; i++) {
			__m512 va = _mm512_castsi512_ps(_mm512_set1_epi32(a[i * by.row]));
			sum[i][0] = _mm512_fmadd_ps(va, vb0, sum[i][0]);
			sum[i][1] = _mm512_fmadd_ps(va, vb1, sum[i][1]);
		}
	}
	UNROLL for (int i = 0; i < ROWS; i++)
		put(block + 32 * i, sum[i][0], sum[i][1], add);
}

__attribute__((target("avx512bf16")))
static void kernel_bf16dot(int64_t steps, const uint32_t *a, struct strides by, const uint32_t *b, float *block, int add)
{
	const uint32_t *b0 = b, *b1 = b + steps * STRIP;
	__m512 sum[ROWS][STRIPS];
	UNROLL for (int i = 0; i < ROWS; i++)
		sum[i][0] = sum[i][1] = _mm512_setzero_ps();
	for (int64_t s = 0; s < steps * STRIP; s += STRIP, a += by.step) {
		__m512bh vb0 = (__m512bh)_mm512_load_si512(b0 + s), vb1 = (__m512bh)_mm512_load_si512(b1 + s);
		UNROLL for (int i = 0; i < ROWS; i++) {
			__m512bh va = (__m512bh)_mm512_set1_epi32(a[i * by.row]);
			sum[i][0] = _mm512_dpbf16_ps(sum[i][0], va, vb0);
			sum[i][1] = _mm512_dpbf16_ps(sum[i][1], va, vb1);
		}
	}
	UNROLL for (int i = 0; i < ROWS; i++)
		put(block + 32 * i, sum[i][0], sum[i][1], add);
}

// Sums fp16 over FP16_CHUNK elements of k, then adds them to f32. A value is at
// most 28 after packing (see fp16_bias), so a chunk stays below 64·28·28 =
// 50176, in the range of fp16. multiply_add is the instruction or its emulation.
enum { FP16_CHUNK = 64 };

#define FP16_KERNEL(name, target, multiply_add)                                                                                 \
	target static void name(int64_t steps, const uint32_t *a, struct strides by, const uint32_t *b, float *block, int add)  \
	{                                                                                                                       \
		const uint32_t *b0 = b, *b1 = b + steps * STRIP;                                                                \
		for (int64_t first = 0; first == 0 || first < steps; first += FP16_CHUNK, add = 1) {                            \
			const int64_t end = first + FP16_CHUNK < steps ? first + FP16_CHUNK : steps;                            \
			__m512i sum[ROWS][STRIPS];                                                                              \
			UNROLL for (int i = 0; i < ROWS; i++)                                                                   \
				sum[i][0] = sum[i][1] = _mm512_setzero_si512();                                                 \
			for (int64_t s = first * STRIP; s < end * STRIP; s += STRIP, a += by.step) {                            \
				__m512i vb0 = _mm512_load_si512(b0 + s), vb1 = _mm512_load_si512(b1 + s);                       \
				UNROLL for (int i = 0; i < ROWS; i++) {                                                         \
					__m512i va = _mm512_set1_epi32(a[i * by.row]);                                          \
					sum[i][0] = multiply_add(va, vb0, sum[i][0]);                                           \
					sum[i][1] = multiply_add(va, vb1, sum[i][1]);                                           \
				}                                                                                               \
			}                                                                                                       \
			UNROLL for (int i = 0; i < ROWS * STRIPS; i++) {                                                        \
				__m512i halves = sum[i / STRIPS][i % STRIPS];                                                   \
				put(block + 32 * i, low_f32(halves), high_f32(halves), add);                                    \
			}                                                                                                       \
		}                                                                                                               \
	}

INLINE __m512 low_f32(__m512i halves) { return _mm512_cvtph_ps(_mm512_castsi512_si256(halves)); }
INLINE __m512 high_f32(__m512i halves) { return _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1)); }

// The product is exact in f32; the sum is rounded twice, which matters only in
// rare ties.
INLINE __m512i emulated_multiply_add(__m512i a, __m512i b, __m512i c)
{
	const int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
	__m512 low = _mm512_fmadd_ps(low_f32(a), low_f32(b), low_f32(c));
	__m512 high = _mm512_fmadd_ps(high_f32(a), high_f32(b), high_f32(c));
	return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtps_ph(low, nearest)),
				  _mm512_cvtps_ph(high, nearest), 1);
}

#define MULTIPLY_ADD_PH(a, b, c) ((__m512i)_mm512_fmadd_ph((__m512h)(a), (__m512h)(b), (__m512h)(c)))

FP16_KERNEL(kernel_fp16, __attribute__((target("avx512fp16"))), MULTIPLY_ADD_PH)
FP16_KERNEL(kernel_fp16_emulated, , emulated_multiply_add)

static void finish32(const struct matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols, const float *block, float bias)
{
	finish(round_bf16, 32, p, row, rows, col, cols, block, bias);
}

static void finish64(const struct matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols, const float *block, float bias)
{
	finish(round_bf16, 64, p, row, rows, col, cols, block, bias);
}

// fp16_codes hold e4m3 times 2^-4 and e5m2 times 2^-11.
static float fp16_bias(int32_t type) { return type == E4M3 ? 16 : 2048; }

const struct matmul_unit *octet_matmul_unit_avx512(void)
{
	static const struct matmul_unit u = {
		.k_per_word = 1, .a_lanes = STRIP, .b_lanes = STRIP, .mr = ROWS, .nr = STRIPS * STRIP,
		.pack_a = octet_pack_a_f32, .pack_b = octet_pack_b_f32, .kernel = kernel_f32, .finish = finish32, .bias = no_bias,
	};
	return &u;
}

const struct matmul_unit *octet_matmul_unit_bf16dot(void)
{
	static const struct matmul_unit u = {
		.k_per_word = 2, .a_lanes = STRIP, .b_lanes = STRIP, .mr = ROWS, .nr = STRIPS * STRIP,
		.pack_a = octet_pack_a_bf16, .pack_b = octet_pack_b_bf16, .kernel = kernel_bf16dot, .finish = finish32, .bias = no_bias,
	};
	return &u;
}

const struct matmul_unit *octet_matmul_unit_fp16(void)
{
	static const struct matmul_unit u = {
		.k_per_word = 1, .a_lanes = STRIP, .b_lanes = 2 * STRIP, .mr = ROWS, .nr = 2 * STRIPS * STRIP,
		.pack_a = octet_pack_a_fp16, .pack_b = octet_pack_b_fp16, .kernel = kernel_fp16, .finish = finish64, .bias = fp16_bias,
	};
	return &u;
}

const struct matmul_unit *octet_matmul_unit_fp16_emulated(void)
{
	static const struct matmul_unit u = {
		.k_per_word = 1, .a_lanes = STRIP, .b_lanes = 2 * STRIP, .mr = ROWS, .nr = 2 * STRIPS * STRIP,
		.pack_a = octet_pack_a_fp16, .pack_b = octet_pack_b_fp16, .kernel = kernel_fp16_emulated, .finish = finish64, .bias = fp16_bias,
	};
	return &u;
}
