// SPDX-License-Identifier: Apache-2.0

//go:build cgo && amd64

package cpu

/*
#include "peak.h"
*/
import "C"

const spinSums = 16 // independent sums of a round; 12 with AVX2's 16 registers

func spinF32AVX512(rounds int) int {
	C.octet_spin_f32_avx512(C.int64_t(rounds))
	return rounds * spinSums * 16 * 2
}

func spinBF16(rounds int) int {
	C.octet_spin_bf16(C.int64_t(rounds))
	return rounds * spinSums * 32 * 2
}

func spinFP16(rounds int) int {
	C.octet_spin_fp16(C.int64_t(rounds))
	return rounds * spinSums * 32 * 2
}

func spinAMX(rounds int) int {
	const tiles = 6
	C.octet_spin_amx(C.int64_t(rounds))
	return rounds * tiles * 16 * 16 * 32 * 2
}

func spinF32AVX2(rounds int) int {
	C.octet_spin_f32_avx2(C.int64_t(rounds))
	return rounds * 12 * 8 * 2
}
