// SPDX-License-Identifier: Apache-2.0

#ifndef OCTET_PEAK_H
#define OCTET_PEAK_H

#include <stdint.h>

// Loops of independent multiply-adds on registers.
void octet_spin_f32_avx512(int64_t rounds);
void octet_spin_f32_avx2(int64_t rounds);
void octet_spin_bf16(int64_t rounds);
void octet_spin_fp16(int64_t rounds);
void octet_spin_amx(int64_t rounds);

#endif
