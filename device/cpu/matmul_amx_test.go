// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// flushed is v, or 0 of its sign if it is subnormal.
func flushed(v float32) float32 {
	if abs := float32(math.Abs(float64(v))); abs < 0x1p-126 {
		return v * 0
	}
	return v
}

// fused is x·y + z of bf16 x and y, rounded once. The product is exact in
// float64; the sum is rounded to odd there, so that rounding it again to float32
// makes no other number.
func fused(x, y, z float32) float32 {
	p, c := float64(x)*float64(y), float64(z)
	s := p + c
	bb := s - p
	rest := (p - (s - bb)) + (c - bb)
	if bits := math.Float64bits(s); rest != 0 && bits&1 == 0 && !math.IsInf(s, 0) {
		if (rest > 0) == (s > 0) {
			s = math.Float64frombits(bits + 1)
		} else {
			s = math.Float64frombits(bits - 1)
		}
	}
	return float32(s)
}

// amxSum is the sum of a[i]·b[i] as AMX makes it (Intel's Software Developer's
// Manual, TDPBF16PS): of 32 products, the even and the odd ones are each summed
// from zero by fused multiply-adds; the two are added, and that to the sum so far.
// What is subnormal, read or made, counts as zero.
func amxSum(a, b []float32) (sum float32) {
	for k := 0; k < len(a); k += 32 {
		var halves [2]float32
		for i := k; i < min(k+32, len(a)); i++ {
			halves[i%2] = flushed(fused(flushed(a[i]), flushed(b[i]), halves[i%2]))
		}
		sum = flushed(sum + flushed(halves[0]+halves[1]))
	}
	return sum
}

// amxUnits are the emulation, and the unit where the processor has it; a test that
// needs AVX-512 skips without it.
func amxUnits(t *testing.T) []unit {
	list := available()
	if !slices.Contains(list, AVX512) {
		t.Skip("needs AVX-512")
	}
	if slices.Contains(list, AMXBF16) {
		return []unit{unitAMXEmulated, unitAMX}
	}
	return []unit{unitAMXEmulated}
}

// TestAMXHasTheBitsOfItsManual: sums of every layout and type, over several blocks
// and none, have the bits of a model of the instruction in Go: those of its order,
// of what it fuses, and of what it flushes.
func TestAMXHasTheBitsOfItsManual(t *testing.T) {
	// Sums of like exponents lose bits, of far ones cancel; some are subnormal.
	values := func(seed uint64, typ dtype.Type) func(int) float32 {
		r := rand.New(rand.NewPCG(seed, 8))
		return func(int) float32 {
			v := float32(r.NormFloat64())
			if typ.IsFloat8() || r.IntN(4) > 0 {
				return v
			}
			return v * []float32{0x1p-130, 0x1p-65, 0x1p-20, 0x1p20}[r.IntN(4)]
		}
	}
	types := [][2]dtype.Type{{dtype.BFloat16, dtype.BFloat16}, {dtype.Float8E4M3, dtype.Float8E5M2}, {dtype.Float8E5M2, dtype.BFloat16}}
	for _, u := range amxUnits(t) {
		dev := open(t, AVX512, 2)
		for _, size := range [][3]int{{1, 1, 1}, {17, 31, 33}, {33, 33, 16}, {50, 64, 40}, {3, 1100, 70}, {130, 2100, 3}, {2, 545, 960}, {17, 40, 2100}} {
			m, k, n := size[0], size[1], size[2]
			for _, ty := range types {
				for _, o := range layouts {
					a, b := newSide(t, dev, ty[0], m, k, o.TransA, values(1, ty[0])), newSide(t, dev, ty[1], k, n, o.TransB, values(2, ty[1]))
					dst := newMatrix(t, dev, dtype.Float32, m, n, normal(3))
					p := newProduct(dev, dst.Tensor, tensor.Operand{Tensor: a.Tensor}, tensor.Operand{Tensor: b.Tensor}, o)
					p.unit = u
					p.run(dev.NewStream("matmul").(*Stream))
					row, column := make([]float32, k), make([]float32, k)
					for i, got := range dst.read() {
						for l := range k {
							row[l], column[l] = a.at(i/n, l), b.at(l, i%n)
						}
						if want := amxSum(row, column); math.Float32bits(got) != math.Float32bits(want) {
							t.Fatalf("%v: %v · %v, %v, %+v: [%d,%d] is %v, want %v", u, ty[0], ty[1], size, o, i/n, i%n, got, want)
						}
					}
				}
			}
		}
	}
}

// TestAMXRoundsSubnormals: dst in bf16 has the subnormals and NaNs that other
// units round to, although the instruction that rounds would flush the first.
func TestAMXRoundsSubnormals(t *testing.T) {
	const n = 64
	for _, u := range amxUnits(t) {
		dev := open(t, AVX512, 1)
		for _, v := range []float32{0, 1, 0x1.01p0, 0x1.03p0, -0x1.fffp3, 0x1p-126, 0x1.fep-127, 0x1.234p-130, -0x1p-133, 0x1p-149, 0x1.ffp127, float32(math.Inf(-1)), float32(math.NaN())} {
			// The scale makes v of a sum of 1, 2, 3 …, which are exact.
			a := newMatrix(t, dev, dtype.BFloat16, 1, 1, func(int) float32 { return 1 })
			b := newMatrix(t, dev, dtype.BFloat16, 1, n, func(i int) float32 { return float32(i % 3) })
			dst := newMatrix(t, dev, dtype.BFloat16, 1, n, normal(3))
			inv := newMatrix(t, dev, dtype.Float32, 1, 1, func(int) float32 { return v })
			p := newProduct(dev, dst.Tensor, tensor.Operand{Tensor: a.Tensor, Scale: inv.View(), Inv: inv.View()}, tensor.Operand{Tensor: b.Tensor}, device.MatMulOptions{})
			p.unit = u
			p.run(dev.NewStream("matmul").(*Stream))
			for i, bits := range as[uint16](dst.Tensor)[:n] {
				if want := uint16(dtype.ToBF16(float32(i%3) * v)); bits != want && !(v*float32(i%3) != v*float32(i%3) && dtype.BF16(bits).Float32() != dtype.BF16(bits).Float32()) {
					t.Fatalf("%v: %v · %v is %#04x, want %#04x", u, i%3, v, bits, want)
				}
			}
		}
	}
}

// TestASeriesOfRowsIsTheWholeProduct, on any number of threads, and the next series has another b.
func TestASeriesOfRowsIsTheWholeProduct(t *testing.T) {
	const m, k, n = 150, 2200, 333 // of AMX more than a block along k, and more than a tile of columns
	eachISA(t, func(t *testing.T, isa ISA) {
		for _, typ := range []dtype.Type{dtype.BFloat16, dtype.Float8E4M3} {
			for _, threads := range []int{1, 3} {
				dev := open(t, isa, threads)
				a := newMatrix(t, dev, typ, m, k, normal(1))
				whole, parts := newMatrix(t, dev, dtype.Float32, m, n, normal(3)), newMatrix(t, dev, dtype.Float32, m, n, normal(4))
				s := dev.NewStream("series")
				for seed := range uint64(2) {
					b := tensor.Operand{Tensor: newMatrix(t, dev, typ, n, k, normal(5+seed)).Tensor}
					o := device.MatMulOptions{TransB: true, Series: device.First}
					s.MatMul(whole.Tensor, tensor.Operand{Tensor: a.Tensor}, b, device.MatMulOptions{TransB: true})
					for _, rows := range [][2]int{{100, 150}, {0, 7}, {7, 100}} {
						s.MatMul(parts.Rows(rows[0], rows[1]), tensor.Operand{Tensor: a.Rows(rows[0], rows[1])}, b, o)
						o.Series = device.Next
					}
					if err := s.Sync(); err != nil {
						t.Fatal(err)
					}
					if got, want := parts.read(), whole.read(); !slices.Equal(got, want) {
						t.Errorf("%v, %d threads, series %d: the rows of a series differ from the whole product", typ, threads, seed)
					}
				}
			}
		}
	})
}

// TestASeriesForgetsTheOneBefore: b's memory has other values in the next series, whose first product has so many rows that nothing
// of b is kept.
func TestASeriesForgetsTheOneBefore(t *testing.T) {
	const m, k, n, few = 600, 70, 90, 40
	eachISA(t, func(t *testing.T, isa ISA) {
		dev := open(t, isa, 1)
		a, b := newMatrix(t, dev, dtype.BFloat16, m, k, normal(1)), newMatrix(t, dev, dtype.BFloat16, n, k, normal(2))
		whole, parts := newMatrix(t, dev, dtype.Float32, m, n, normal(3)), newMatrix(t, dev, dtype.Float32, m, n, normal(4))
		s := dev.NewStream("series")
		x, w := tensor.Operand{Tensor: a.Tensor}, tensor.Operand{Tensor: b.Tensor}
		for _, first := range []int{few, m - few} { // the first leaves what it packs, the second must not take it
			s.MatMul(whole.Tensor, x, w, device.MatMulOptions{TransB: true})
			s.MatMul(parts.Rows(0, first), tensor.Operand{Tensor: a.Rows(0, first)}, w, device.MatMulOptions{TransB: true, Series: device.First})
			s.MatMul(parts.Rows(first, m), tensor.Operand{Tensor: a.Rows(first, m)}, w, device.MatMulOptions{TransB: true, Series: device.Next})
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
			if got, want := parts.read(), whole.read(); !slices.Equal(got, want) {
				t.Errorf("%d rows first: the rows of a series differ from the whole product", first)
			}
			s.Add(b.Tensor, b.Tensor, b.Tensor)
		}
	})
}

// TestTilesOfAProductAreProductsOfTheirOwn: what is packed once for several columns of tiles, and however an operand lies in
// memory, is what the columns alone have, on any number of threads.
func TestTilesOfAProductAreProductsOfTheirOwn(t *testing.T) {
	const k, each = 2100, 100 // more than a block along k, 256 columns a tile
	for _, u := range amxUnits(t) {
		for _, c := range []struct {
			m, n int
			a, b dtype.Type
		}{
			{300, 400, dtype.Float8E5M2, dtype.Float8E4M3},
			{300, 400, dtype.BFloat16, dtype.BFloat16},
			{40, 1900, dtype.Float8E4M3, dtype.Float8E4M3}, // eight columns of tiles
		} {
			multiply := func(dev *Device, n int, a, b tensor.Operand, o device.MatMulOptions) []float32 {
				dst := newMatrix(t, dev, dtype.Float32, c.m, n, normal(3))
				p := newProduct(dev, dst.Tensor, a, b, o)
				p.unit = u
				p.run(dev.NewStream("matmul").(*Stream))
				return dst.read()
			}
			dev := open(t, AVX512, 1)
			a, b := lay(t, dev, c.a, c.m, k, true, false, false, false, 1), lay(t, dev, c.b, c.n, k, false, true, false, false, 2)
			want := make([]float32, c.m*c.n)
			for col := 0; col < c.n; col += each {
				part := multiply(dev, each, a.Operand, b.Rows(col, col+each), device.MatMulOptions{TransB: true})
				for i := range c.m {
					copy(want[i*c.n+col:][:each], part[i*each:][:each])
				}
			}
			for i, o := range layouts {
				dev := open(t, AVX512, 1+i/2*2)
				a, b := lay(t, dev, c.a, c.m, k, true, o.TransA, false, false, 1), lay(t, dev, c.b, c.n, k, false, o.TransB, false, false, 2)
				if got := multiply(dev, c.n, a.Operand, b.Operand, o); !slices.Equal(got, want) {
					t.Errorf("%v: %v [%d,%d] · %v, %+v: columns of tiles differ from products of their own", u, c.a, c.m, k, c.b, o)
				}
			}
		}
	}
}
