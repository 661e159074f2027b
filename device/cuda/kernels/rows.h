// SPDX-License-Identifier: Apache-2.0

// A row that a block goes over twice is held in shared memory in between, where it fits, and
// otherwise read again. Element e of eights j is at e·eights + j, which no two threads of
// a warp find in one bank.

#pragma once

#include "dev.h"

DEV u32 eights_of(u64 cols) { return (u32)((cols + 7) / 8); }

DEV void hold8(Shared<float> held, u32 eights, u32 j, const float (&v)[8]) {
	UNROLL for (u32 e = 0; e < 8; e++) held[e * eights + j] = v[e];
}
DEV void held8(Shared<float> held, u32 eights, u32 j, float (&v)[8]) {
	UNROLL for (u32 e = 0; e < 8; e++) v[e] = held[e * eights + j];
}
