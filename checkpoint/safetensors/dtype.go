// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// DType is an element type by the name that the format gives it.
type DType string

// The element types. Values of more than one byte are little-endian.
const (
	Bool   DType = "BOOL"
	U8     DType = "U8"
	I8     DType = "I8"
	F8E5M2 DType = "F8_E5M2"
	F8E4M3 DType = "F8_E4M3"
	F8E8M0 DType = "F8_E8M0"
	I16    DType = "I16"
	U16    DType = "U16"
	F16    DType = "F16"
	BF16   DType = "BF16"
	I32    DType = "I32"
	U32    DType = "U32"
	F32    DType = "F32"
	F64    DType = "F64"
	I64    DType = "I64"
	U64    DType = "U64"
)

// dtypes is the format's own order, in which a writer lays tensors out backwards: the widest come first, so all are aligned.
var dtypes = []struct {
	name DType
	size int
}{
	{Bool, 1}, {U8, 1}, {I8, 1}, {F8E5M2, 1}, {F8E4M3, 1}, {F8E8M0, 1}, {I16, 2}, {U16, 2}, {F16, 2}, {BF16, 2},
	{I32, 4}, {U32, 4}, {F32, 4}, {F64, 8}, {I64, 8}, {U64, 8},
}

// order is the position of d in dtypes, -1 for a type that this package does not know.
func (d DType) order() int {
	for i, t := range dtypes {
		if t.name == d {
			return i
		}
	}
	return -1
}

// Size is the number of bytes of one element, 0 for a type that this package does not know.
func (d DType) Size() int {
	if i := d.order(); i >= 0 {
		return dtypes[i].size
	}
	return 0
}

// DecodeFloat32 widens raw elements of type t (F32, BF16 or F16) into dst, which has one place for each.
func DecodeFloat32(dst []float32, t DType, raw []byte) error {
	if !slices.Contains([]DType{F32, BF16, F16}, t) {
		return fmt.Errorf("safetensors: elements of type %s cannot be read as float32, only F32, BF16 and F16 can", t)
	}
	if len(raw) != len(dst)*t.Size() {
		return fmt.Errorf("safetensors: %d elements of type %s are %d bytes, not %d", len(dst), t, len(dst)*t.Size(), len(raw))
	}
	switch t {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw[2*i:])) << 16)
		}
	case F16:
		for i := range dst {
			dst[i] = widenF16(binary.LittleEndian.Uint16(raw[2*i:]))
		}
	}
	return nil
}

// widenF16 is the value of an IEEE 754 binary16 (1 sign, 5 exponent, 10 mantissa bits); each is exact in float32.
func widenF16(h uint16) float32 {
	sign, exp, mant := uint32(h>>15)<<31, uint32(h>>10)&31, uint32(h)&1023
	switch exp {
	case 0: // zero and subnormals: mant × 2^-24
		return math.Float32frombits(sign | math.Float32bits(float32(mant)*0x1p-24))
	case 31: // infinity and NaN
		return math.Float32frombits(sign | 255<<23 | mant<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | mant<<13)
}
