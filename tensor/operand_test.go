// SPDX-License-Identifier: Apache-2.0

package tensor_test

import (
	"fmt"
	"strings"
	"testing"

	"octet/dtype"
	"octet/tensor"
)

type memory int

func (m memory) Len() int { return int(m) }

func f32(shape ...int) *tensor.Tensor { return tensor.New(memory(1<<20), dtype.Float32, shape...) }

func operand(scale *tensor.Tensor, transposed bool, shape ...int) tensor.Operand {
	return tensor.Operand{Tensor: tensor.New(memory(1<<20), dtype.Float8E4M3, shape...), Scale: scale, Inv: scale, Transposed: transposed}
}

// panicOf is what f panics with.
func panicOf(f func()) (message string) {
	defer func() {
		if v := recover(); v != nil {
			message = fmt.Sprint(v)
		}
	}()
	f()
	return ""
}

func TestGranularityIsTheScalesShape(t *testing.T) {
	bf16 := tensor.New(memory(64), dtype.BFloat16)
	half := operand(f32(4, 1), false, 4, 6)
	half.Inv = f32(1, 6)
	inv := operand(nil, false, 4, 6)
	inv.Inv = f32(4, 1)
	for _, c := range []struct {
		name string
		o    tensor.Operand
		want string // or part of the panic
	}{
		{"no scale", operand(nil, false, 4, 6), "a scale for the whole tensor"},
		{"[]", operand(f32(), false, 4, 6), "a scale for the whole tensor"},
		{"rows", operand(f32(4, 1), false, 4, 6), "a scale a row"},
		{"columns", operand(f32(1, 6), false, 4, 6), "a scale a column"},
		{"only a reciprocal", inv, "a scale a row"},
		{"rows of what lies transposed", operand(f32(6, 1), true, 4, 6), "a scale a row"},
		{"columns of what lies transposed", operand(f32(1, 4), true, 4, 6), "a scale a column"},
		{"rows of three dimensions", operand(f32(12, 1), false, 3, 4, 6), "a scale a row"},
		{"rows of a square", operand(f32(4, 1), false, 4, 4), "a scale a row"},
		{"columns of a square", operand(f32(1, 4), false, 4, 4), "a scale a column"},
		{"one row's", operand(f32(1, 1), false, 1, 6), "a scale for the whole tensor"},
		{"no rows", operand(f32(0, 1), false, 0, 6), "a scale a row"},
		{"bare", operand(f32(4), false, 4, 4), "want [], [4 1] or [1 4] for a value [4 4]"},
		{"the memory's rows", operand(f32(4, 1), true, 4, 6), "want [], [6 1] or [1 4] for a value [6 4]"},
		{"one for many", operand(f32(1, 1), false, 4, 6), "want [], [4 1] or [1 6]"},
		{"one each", operand(f32(4, 6), false, 4, 6), "want [], [4 1] or [1 6]"},
		{"type", operand(bf16, false, 4, 6), "want float32"},
		{"two shapes", half, "want one shape for both"},
	} {
		var got string
		if message := panicOf(func() { got = c.o.Granularity().String() }); message != "" {
			got = message
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %s; want %s", c.name, got, c.want)
		}
	}
}

func TestRowsCutTheirScales(t *testing.T) {
	o := operand(f32(12, 1), false, 3, 4, 6).Rows(1, 3)
	if got := fmt.Sprint(o, o.Off, o.Scale, o.Scale.Off, o.Inv, o.Inv.Off); got != "float8_e4m3fn[2 4 6] 24 float32[8 1] 16 float32[8 1] 16" {
		t.Errorf("rows 1:3 of [3,4,6] with a scale a row: %s", got)
	}
	for _, scale := range []*tensor.Tensor{nil, f32(), f32(1, 6)} {
		if o := operand(scale, false, 4, 6).Rows(2, 4); o.Scale != scale || o.Inv != scale || o.Off != 12 {
			t.Errorf("rows 2:4 of [4,6] with scale %v: %v, scale %v", scale, o, o.Scale)
		}
	}
	if got := panicOf(func() { operand(nil, true, 4, 6).Rows(0, 2) }); !strings.Contains(got, "transposed") {
		t.Errorf("rows of what lies transposed: panic %q", got)
	}
}

func TestSpecCountsBytes(t *testing.T) {
	if got := (tensor.Spec{Type: dtype.BFloat16, Shape: []int{3, 5}}).Bytes(); got != 30 {
		t.Errorf("%d bytes, want 30", got)
	}
}
