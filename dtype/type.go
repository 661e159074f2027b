// SPDX-License-Identifier: Apache-2.0

// Package dtype names the element types of tensors and converts between
// float32 and the narrow floats: BF16, and the 8-bit formats E4M3 and E5M2
// (with their FNUZ variants). Every conversion to a narrow type rounds to
// nearest, ties to even; conversions to 8 bits saturate.
//
// Use Type where the type is data (a tensor's element type), BF16 for a value of
// that type, and Format for the arithmetic of an 8-bit format (limits, encode,
// decode):
//
//	b := dtype.ToBF16(3.14159)          // 0x4049
//	f := b.Float32()                    // 3.140625
//	q := dtype.E4M3FN.Encode(449)       // 0x7E: saturates to 448
//	v := dtype.E4M3FN.Decode(q)         // 448
//	n := dtype.Float8E4M3.Size()        // 1 byte
package dtype

import "fmt"

// Type is the element type of a tensor.
type Type uint8

// The element types. Float8E4M3 is the FN variant (no infinities).
const (
	Invalid Type = iota
	Float32
	BFloat16
	Float8E4M3
	Float8E5M2
	Uint8
	Int32
)

type typeInfo struct {
	name string
	size int
}

func (t Type) info() typeInfo {
	switch t {
	case Float32:
		return typeInfo{"float32", 4}
	case BFloat16:
		return typeInfo{"bfloat16", 2}
	case Float8E4M3:
		return typeInfo{"float8_e4m3fn", 1}
	case Float8E5M2:
		return typeInfo{"float8_e5m2", 1}
	case Uint8:
		return typeInfo{"uint8", 1}
	case Int32:
		return typeInfo{"int32", 4}
	}
	return typeInfo{fmt.Sprintf("dtype(%d)", uint8(t)), 0}
}

// Size is the bytes of one element.
func (t Type) Size() int { return t.info().size }

// String is PyTorch's name of the type, such as "bfloat16" or "float8_e4m3fn".
func (t Type) String() string { return t.info().name }

// IsFloat8 reports whether t is one of the 8-bit floats.
func (t Type) IsFloat8() bool { return t == Float8E4M3 || t == Float8E5M2 }

// Format is the 8-bit format of t; it panics if t is not an 8-bit float.
func (t Type) Format() Format {
	switch t {
	case Float8E4M3:
		return E4M3FN
	case Float8E5M2:
		return E5M2
	}
	panic("dtype: " + t.String() + " is not an 8-bit float")
}

// Parse is the inverse of String; it also takes "bf16" and "f32".
func Parse(name string) (Type, error) {
	for t := Float32; t <= Int32; t++ {
		if name == t.String() {
			return t, nil
		}
	}
	switch name {
	case "f32":
		return Float32, nil
	case "bf16":
		return BFloat16, nil
	}
	return Invalid, fmt.Errorf("dtype: unknown element type %q", name)
}
