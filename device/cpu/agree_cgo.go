// SPDX-License-Identifier: Apache-2.0

//go:build cgo && amd64

package cpu

/*
#cgo CFLAGS: -O3 -Wall
#cgo LDFLAGS: -lm
#include "matmul_amx.h"
#include "simd.h"
*/
import "C"

import (
	"unsafe"

	"octet/device"
	"octet/dtype"
)

// What C and Go name alike is equal: an index other than 0 does not compile.
var (
	_ = [1]struct{}{}[C.F32-dtype.Float32]
	_ = [1]struct{}{}[C.BF16-dtype.BFloat16]
	_ = [1]struct{}{}[C.E4M3-dtype.Float8E4M3]
	_ = [1]struct{}{}[C.E5M2-dtype.Float8E5M2]

	_ = [1]struct{}{}[C.STRIP-rowAlign]
	_ = [1]struct{}{}[C.TILE_ROWS-tileRows]
	_ = [1]struct{}{}[C.TILE_COLS-tileCols]
	_ = [1]struct{}{}[C.TILE_STEPS-tileSteps]
	_ = [1]struct{}{}[C.TILE_K-amxTileK]
	_ = [1]struct{}{}[C.BLOCK_TILES-amxBlockTiles]
	_ = [1]struct{}{}[C.WORKSPACE-workspaceBytes]

	_ = [1]struct{}{}[C.ATTENTION_TILE-attnTile]
	_ = [1]struct{}{}[C.ATTENTION_PAD-attnPad]

	_ = [1]struct{}{}[C.IGNORED-device.Ignored]
	_ = [1]struct{}{}[C.RELU-device.ReLU]
	_ = [1]struct{}{}[C.GELU-device.GELU]
	_ = [1]struct{}{}[C.GELU_TANH-device.GELUTanh]
	_ = [1]struct{}{}[unsafe.Sizeof(C.struct_loss_row{})-unsafe.Sizeof(lossRow{})]
)
