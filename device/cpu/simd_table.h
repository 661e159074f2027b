// SPDX-License-Identifier: Apache-2.0

// All kernels for vectors of W floats, and the table of them, called ISA_TABLE. A
// file sets both, and its target, and includes this once.

#include "simd_vec.h"
#include "simd_elementwise.h"
#include "simd_cast.h"
#include "simd_swiglu.h"
#include "simd_activation.h"
#include "simd_layernorm.h"
#include "simd_norm.h"
#include "simd_loss.h"
#include "simd_attention.h"

#define ENTRY(result, name, params, args) .name = name,
const struct simd_table ISA_TABLE = {KERNELS(ENTRY)};
