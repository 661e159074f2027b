// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"octet/dtype"
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

// Of is the name of a tensor's element type.
func Of(t dtype.Type) DType {
	switch t {
	case dtype.Float32:
		return F32
	case dtype.BFloat16:
		return BF16
	case dtype.Float8E4M3:
		return F8E4M3
	case dtype.Float8E5M2:
		return F8E5M2
	case dtype.Uint8:
		return U8
	case dtype.Int32:
		return I32
	}
	panic("safetensors: there is no name for elements of type " + t.String())
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

// EncodeFloat32 rounds src to elements of type t (F32, BF16 or F16) in dst, which has room for as many: to nearest, ties to even.
func EncodeFloat32(dst []byte, t DType, src []float32) error {
	if !slices.Contains([]DType{F32, BF16, F16}, t) {
		return fmt.Errorf("safetensors: float32 cannot be written as elements of type %s, only as F32, BF16 and F16", t)
	}
	if len(dst) != len(src)*t.Size() {
		return fmt.Errorf("safetensors: %d elements of type %s are %d bytes, not %d", len(src), t, len(src)*t.Size(), len(dst))
	}
	switch t {
	case F32:
		for i, v := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
		}
	case BF16:
		for i, v := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], uint16(dtype.ToBF16(v)))
		}
	case F16:
		for i, v := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], narrowF16(v))
		}
	}
	return nil
}

// narrowF16 rounds to IEEE 754 binary16; what is too large becomes infinite.
func narrowF16(v float32) uint16 {
	u := math.Float32bits(v)
	sign, u := uint16(u>>16&0x8000), u&0x7FFFFFFF
	switch {
	case u > 0x7F800000: // NaN, quiet
		return sign | 0x7E00 | uint16(u>>13&0x3FF)
	case u >= 0x47800000: // 2^16 and more
		return sign | 0x7C00
	case u < 0x38800000: // below 2^-14: a multiple of 2^-24, which the sum rounds to
		return sign | uint16(math.Float32bits(math.Float32frombits(u)+0.5)-math.Float32bits(0.5))
	}
	u += 0xFFF + u>>13&1
	return sign | uint16((u-0x38000000)>>13)
}
