// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// Whatever shares a scale, a value that was cast with its own scales and widened
// again is within half a unit in the last place that the format has there, taken
// back by the scale; float32 adds its own rounding where scales are no powers of two.
func TestAWidenedCastIsWithinHalfAUnitInTheLastPlace(t *testing.T) {
	const rows, cols = 37, 53
	r := rand.New(rand.NewPCG(5, 6))
	values := make([]float32, rows*cols)
	for i := range values {
		values[i] = float32(r.NormFloat64() * math.Exp(4*r.NormFloat64()+float64(i/cols%9)-float64(i%cols%7)))
	}
	eachISA(t, func(t *testing.T, isa ISA) {
		dev := open(t, isa, 1)
		s := dev.NewStream("test")
		x, wide := newTensor(t, dev, dtype.Float32, rows, cols), newTensor(t, dev, dtype.Float32, rows, cols)
		s.Upload(x, device.Float32Bytes(values))
		for _, to := range float8s {
			for _, per := range [][]int{{}, {rows, 1}, {1, cols}} {
				for _, pow2 := range []bool{false, true} {
					q := tensor.Operand{Tensor: newTensor(t, dev, to, rows, cols), Scale: newTensor(t, dev, dtype.Float32, per...), Inv: newTensor(t, dev, dtype.Float32, per...)}
					s.DynamicCast(q, tensor.Operand{}, tensor.Operand{Tensor: x}, pow2)
					s.Cast(tensor.Operand{Tensor: wide}, tensor.Operand{}, q)
					if err := s.Sync(); err != nil {
						t.Fatal(err)
					}
					slack := 0.0
					if !pow2 {
						slack = 0x1p-23
					}
					for i, v := range values {
						scale := float64(scales(q).at(i/cols, i%cols))
						bound := halfUnit(to.Format(), float64(v)*scale)/scale + slack*math.Abs(float64(v))
						if off := math.Abs(float64(f32s(wide)[i]) - float64(v)); !(off <= bound) {
							t.Fatalf("%v with scales %v, power of two %v: %v comes back as %v, off by %v, bound %v", to, per, pow2, v, f32s(wide)[i], off, bound)
						}
					}
				}
			}
		}
	})
}

// halfUnit is half the distance of neighbours of v in f.
func halfUnit(f dtype.Format, v float64) float64 {
	_, exponent := math.Frexp(v) // of a number in [1/2, 1)
	return math.Ldexp(1, max(exponent-1, 1-f.Bias)-f.ManBits-1)
}

// Whichever NaN a row, a column or a tensor has, its scale is one NaN: bits depend on
// nothing else.
func TestTheScaleOfAnyNaNIsOne(t *testing.T) {
	values := make([]float32, 3*20)
	values[25], values[26] = math.Float32frombits(0xFF800001), math.Float32frombits(0x7FC12345)
	eachISA(t, func(t *testing.T, isa ISA) {
		dev := open(t, isa, 1)
		s := dev.NewStream("test")
		x := newTensor(t, dev, dtype.Float32, 3, 20)
		s.Upload(x, device.Float32Bytes(values))
		for _, c := range []struct {
			per []int
			at  int
		}{{[]int{}, 0}, {[]int{3, 1}, 1}, {[]int{1, 20}, 5}, {[]int{1, 20}, 6}} {
			q := tensor.Operand{Tensor: newTensor(t, dev, dtype.Float8E4M3, 3, 20), Scale: newTensor(t, dev, dtype.Float32, c.per...), Inv: newTensor(t, dev, dtype.Float32, c.per...)}
			s.DynamicCast(q, tensor.Operand{}, tensor.Operand{Tensor: x}, true)
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
			if got := as[uint32](q.Scale)[c.at]; got != nanBits {
				t.Errorf("scales %v: that of NaN is %#x, want %#x", c.per, got, nanBits)
			}
		}
	})
}
