// SPDX-License-Identifier: Apache-2.0

package dtype_test

import (
	"math"
	"testing"

	"octet/dtype"
)

func TestTypeNames(t *testing.T) {
	for _, c := range []struct {
		ty   dtype.Type
		name string
		size int
	}{
		{dtype.Float32, "float32", 4}, {dtype.BFloat16, "bfloat16", 2}, {dtype.Float8E4M3, "float8_e4m3fn", 1},
		{dtype.Float8E5M2, "float8_e5m2", 1}, {dtype.Uint8, "uint8", 1}, {dtype.Int32, "int32", 4},
	} {
		if c.ty.String() != c.name || c.ty.Size() != c.size {
			t.Errorf("%d is %v of %d bytes, want %s of %d", c.ty, c.ty, c.ty.Size(), c.name, c.size)
		}
		if got, err := dtype.Parse(c.name); got != c.ty || err != nil {
			t.Errorf("Parse(%q) = %v, %v", c.name, got, err)
		}
	}
	if _, err := dtype.Parse("float64"); err == nil {
		t.Error("Parse took float64")
	}
}

func TestBF16RoundsToNearestEven(t *testing.T) {
	for _, c := range []struct {
		bits uint32
		want dtype.BF16
	}{
		{0x3F800000, 0x3F80}, {0x3F808000, 0x3F80}, {0x3F808001, 0x3F81}, {0x3F818000, 0x3F82}, {0x3F817FFF, 0x3F81},
		{0x80000000, 0x8000}, {0x00008000, 0x0000}, {0x00008001, 0x0001}, {0x7F7FFFFF, 0x7F80}, {0x7F800000, 0x7F80},
		{0xFF800000, 0xFF80}, {0x7F800001, 0x7FC0}, {0xFFC12345, 0xFFC1},
	} {
		if got := dtype.ToBF16(math.Float32frombits(c.bits)); got != c.want {
			t.Errorf("%#08x becomes %#04x, want %#04x", c.bits, got, c.want)
		}
	}
	for b := range 1 << 16 {
		v := dtype.BF16(b).Float32()
		if got := dtype.ToBF16(v); v == v && got != dtype.BF16(b) {
			t.Fatalf("%#04x comes back as %#04x", b, got)
		}
	}
}
