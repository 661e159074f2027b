// SPDX-License-Identifier: Apache-2.0

// MatMul's kernels on AVX-512: f32 FMA, the bf16 dot product, and fp16 FMA in
// chunks. Each keeps sums of 16 or 32 lanes in registers: some rows, each a
// broadcast from strip a, by 2 strips of b. 8 rows take 10 loads for 16
// multiplications, which leaves the multipliers the bottleneck; but each load
// costs some of their rate on Intel (docs/kernels.md). f32 has 14 rows, 16 loads for
// 28 multiplications, and reads b from L2 half as often. fp16's chunks gain
// nothing by more rows, nor does the bf16 dot where it is slow.

//go:build cgo && amd64

#include "matmul_avx512.h"
#include "matmul_finish_avx512.h"

enum { STRIPS = 2, ROWS = 8 };

// multiply_add_func is sum + a·b, lane by lane.
typedef __m512i multiply_add_func(__m512i sum, __m512i a, __m512i b);

// multiply makes sums[rows][STRIPS] of rows of strip a and of two strips of b,
// b_next words apart.
INLINE void multiply(multiply_add_func *multiply_add, const int rows, int64_t steps, const uint32_t *a, struct strides by, const uint32_t *b,
		     int64_t b_next, float *sums)
{
	__m512i sum[ROWS][STRIPS];
	UNROLL for (int i = 0; i < rows; i++)
		sum[i][0] = sum[i][1] = _mm512_setzero_si512();
	for (int64_t s = 0; s < steps; s++, a += by.step, b += STRIP) {
		__m512i vb0 = _mm512_load_si512(b), vb1 = _mm512_load_si512(b + b_next);
		UNROLL for (int i = 0; i < rows; i++) {
			__m512i va = _mm512_set1_epi32(a[i * by.row]);
			sum[i][0] = multiply_add(sum[i][0], va, vb0);
			sum[i][1] = multiply_add(sum[i][1], va, vb1);
		}
	}
	UNROLL for (int i = 0; i < rows; i++) {
		_mm512_store_si512(sums + 32 * i, sum[i][0]);
		_mm512_store_si512(sums + 32 * i + 16, sum[i][1]);
	}
}

// multiply_f32 is the same of F32_ROWS rows, whose sums leave four registers: of
// intrinsics gcc spills some, or moves them about. Strides that are constants
// leave the loop three instructions around its steps.
#define ZERO(s) "vpxord %%zmm" #s ", %%zmm" #s ", %%zmm" #s "\n\t"
#define STORE(s) "vmovaps %%zmm" #s ", " #s "*64(%[sums])\n\t"
#define SUMS(of)                                                                                                            \
	of(0) of(1) of(2) of(3) of(4) of(5) of(6) of(7) of(8) of(9) of(10) of(11) of(12) of(13) of(14) of(15) of(16) of(17) \
	of(18) of(19) of(20) of(21) of(22) of(23) of(24) of(25) of(26) of(27)
#define ROW(s, i, s0, s1)                                                   \
	"vpbroadcastd " #i "*%c[row]+" #s "*%c[step](%[a]), %%zmm30\n\t"    \
	"vfmadd231ps %%zmm30, %%zmm28, %%zmm" #s0 "\n\t"                    \
	"vfmadd231ps %%zmm30, %%zmm29, %%zmm" #s1 "\n\t"
#define STEP(s)                                                                                           \
	"vmovaps " #s "*64(%[b]), %%zmm28\n\tvmovaps " #s "*64(%[b],%[next]), %%zmm29\n\t"                \
	ROW(s, 0, 0, 1) ROW(s, 1, 2, 3) ROW(s, 2, 4, 5) ROW(s, 3, 6, 7) ROW(s, 4, 8, 9)                   \
	ROW(s, 5, 10, 11) ROW(s, 6, 12, 13) ROW(s, 7, 14, 15) ROW(s, 8, 16, 17) ROW(s, 9, 18, 19)         \
	ROW(s, 10, 20, 21) ROW(s, 11, 22, 23) ROW(s, 12, 24, 25) ROW(s, 13, 26, 27)

INLINE void multiply_f32(int64_t steps, const uint32_t *a, const struct strides by, const uint32_t *b, int64_t b_next, float *sums)
{
	int64_t pairs = steps / 2;
	__asm__ volatile(SUMS(ZERO)
			 "test %[pairs], %[pairs]\n\tjz 2f\n"
			 "1:\n\t" STEP(0) STEP(1)
			 "add $2*%c[step], %[a]\n\tsub $-128, %[b]\n\tdec %[pairs]\n\tjnz 1b\n"
			 "2:\n\ttest $1, %[steps]\n\tjz 3f\n\t" STEP(0)
			 "3:\n\t" SUMS(STORE)
			 : [a] "+r"(a), [b] "+r"(b), [pairs] "+r"(pairs)
			 : [next] "r"(4 * b_next), [steps] "r"(steps), [sums] "r"(sums), [row] "i"(4 * by.row), [step] "i"(4 * by.step)
			 : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
			   "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",
			   "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30");
}

// to[16] = (add ? to : 0) + 16 sums.
INLINE void put(float *to, __m512 sums, int add)
{
	_mm512_store_ps(to, add ? _mm512_add_ps(_mm512_load_ps(to), sums) : sums);
}

INLINE void put_all(float *block, const float *sums, int64_t rows)
{
	for (int64_t i = 0; i < rows * STRIPS * STRIP; i += 16)
		put(block + i, _mm512_load_ps(sums + i), 1);
}

INLINE __m512i add_f32(__m512i sum, __m512i a, __m512i b) { return (__m512i)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)sum); }

static void kernel_f32(int64_t rows, int64_t steps, const uint32_t *a, struct strides by, const uint32_t *b, float *block, int add)
{
	float own[F32_ROWS * STRIPS * STRIP] __attribute__((aligned(64))), *sums = add ? own : block;
	const int64_t b_next = steps * STRIP;
	if (rows <= 4) // what is left below the last whole block
		multiply(add_f32, 4, steps, a, by, b, b_next, sums);
	else if (rows <= 8)
		multiply(add_f32, 8, steps, a, by, b, b_next, sums);
	else if (by.step == 1)
		multiply_f32(steps, a, (struct strides){TILE_STEPS, 1}, b, b_next, sums);
	else
		multiply_f32(steps, a, (struct strides){1, STRIP}, b, b_next, sums);
	if (add)
		put_all(block, sums, rows);
}

// Assembly, because of a function with another target gcc makes no argument of one
// that is inlined.
INLINE __m512i add_pairs(__m512i sum, __m512i a, __m512i b)
{
	__asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
	return sum;
}

static void kernel_bf16dot(int64_t rows, int64_t steps, const uint32_t *a, struct strides by, const uint32_t *b, float *block, int add)
{
	float own[ROWS * STRIPS * STRIP] __attribute__((aligned(64)));
	multiply(add_pairs, ROWS, steps, a, by, b, steps * STRIP, add ? own : block);
	if (add)
		put_all(block, own, rows);
}

INLINE __m512 low_f32(__m512i halves) { return _mm512_cvtph_ps(_mm512_castsi512_si256(halves)); }
INLINE __m512 high_f32(__m512i halves) { return _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1)); }

INLINE __m512i add_fp16(__m512i sum, __m512i a, __m512i b)
{
	__asm__("vfmadd231ph %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
	return sum;
}

// The product is exact in f32; the sum is rounded twice, which matters only in
// rare ties.
INLINE __m512i add_fp16_emulated(__m512i sum, __m512i a, __m512i b)
{
	const int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
	__m512 low = _mm512_fmadd_ps(low_f32(a), low_f32(b), low_f32(sum));
	__m512 high = _mm512_fmadd_ps(high_f32(a), high_f32(b), high_f32(sum));
	return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtps_ph(low, nearest)),
				  _mm512_cvtps_ph(high, nearest), 1);
}

// Sums fp16 over FP16_CHUNK elements of k, then adds them to f32. A value is at
// most 28 after packing (see fp16_bias), so a chunk stays below 64·28·28 =
// 50176, in the range of fp16.
enum { FP16_CHUNK = 64 };

INLINE void kernel_chunks(multiply_add_func *multiply_add, int64_t steps, const uint32_t *a, struct strides by, const uint32_t *b, float *block, int add)
{
	float sums[ROWS * STRIPS * STRIP] __attribute__((aligned(64)));
	for (int64_t s = 0; s == 0 || s < steps; s += FP16_CHUNK, add = 1) {
		const int64_t n = s + FP16_CHUNK < steps ? FP16_CHUNK : steps - s;
		multiply(multiply_add, ROWS, n, a + s * by.step, by, b + s * STRIP, steps * STRIP, sums);
		UNROLL for (int i = 0; i < ROWS * STRIPS; i++) {
			__m512i halves = _mm512_load_si512(sums + 16 * i);
			put(block + 32 * i, low_f32(halves), add);
			put(block + 32 * i + 16, high_f32(halves), add);
		}
	}
}

static void kernel_fp16(int64_t rows, int64_t steps, const uint32_t *a, struct strides by, const uint32_t *b, float *block, int add)
{
	kernel_chunks(add_fp16, steps, a, by, b, block, add);
}

static void kernel_fp16_emulated(int64_t rows, int64_t steps, const uint32_t *a, struct strides by, const uint32_t *b, float *block, int add)
{
	kernel_chunks(add_fp16_emulated, steps, a, by, b, block, add);
}

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
		.k_per_word = 1, .a_lanes = F32_ROWS, .b_lanes = STRIP, .mr = F32_ROWS, .nr = STRIPS * STRIP,
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
