// SPDX-License-Identifier: Apache-2.0

// What the C of this package and its Go name alike; agree_cgo.go holds both to it.
#ifndef OCTET_TYPES_H
#define OCTET_TYPES_H

#include <stdint.h>

// Element types, with the values of dtype.Type.
enum { F32 = 1, BF16 = 2, E4M3 = 3, E5M2 = 4 };

// size_of is the bytes of one element.
static inline int64_t size_of(int type) { return type == F32 ? 4 : type == BF16 ? 2 : 1; }

#endif
