// SPDX-License-Identifier: Apache-2.0

package dtype

import "math"

// BF16 is a bfloat16: the upper half of a float32.
type BF16 uint16

// ToBF16 rounds f to nearest, ties to even. NaN becomes a quiet NaN that keeps
// its sign and upper payload.
func ToBF16(f float32) BF16 {
	u := math.Float32bits(f)
	if u&0x7FFFFFFF > 0x7F800000 {
		return BF16(u>>16 | 0x40)
	}
	return BF16((u + 0x7FFF + u>>16&1) >> 16)
}

// Float32 widens exactly.
func (b BF16) Float32() float32 { return math.Float32frombits(uint32(b) << 16) }
