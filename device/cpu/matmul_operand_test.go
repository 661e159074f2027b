// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// laid is a value [rows,cols] as an operand, in either layout, with one scale
// or one for each lane.
type laid struct {
	tensor.Operand
	invs []float32 // of each lane
}

// lay makes an operand whose value, or its transpose with trans, is v's
// [lanes,k] (lanes first) or [k,lanes]. The layout of the memory follows from trans and
// transposed; values do not.
func lay(t *testing.T, dev *Device, ty dtype.Type, lanes, k int, lanesFirst, trans, transposed, lanewise bool, seed uint64) laid {
	v := normal(seed)
	values := make([]float32, lanes*k)
	for i := range values {
		values[i] = v(i)
	}
	rowsAreLanes := (lanesFirst != trans) != transposed // of the memory
	rows, cols := lanes, k
	if !rowsAreLanes {
		rows, cols = k, lanes
	}
	m := newMatrix(t, dev, ty, rows, cols, func(i int) float32 {
		if rowsAreLanes {
			return values[i]
		}
		return values[i%cols*k+i/cols]
	})
	o := laid{Operand: tensor.Operand{Tensor: m.Tensor, Transposed: transposed}, invs: make([]float32, lanes)}
	r := rand.New(rand.NewPCG(seed, 9))
	one := r.Float32() + 0.5
	for i := range o.invs {
		o.invs[i] = one
		if lanewise {
			o.invs[i] = r.Float32() + 0.5
		}
	}
	shape := []int{}
	if lanewise {
		shape = []int{lanes, 1}
		if lanesFirst == trans {
			shape = []int{1, lanes}
		}
	}
	o.Inv = newTensor(t, dev, dtype.Float32, shape...)
	copy(f32s(o.Inv), o.invs)
	return o
}

// Whatever the layout of an operand and whatever shares its scale, an element
// is the plain product's, times the product of its two reciprocals.
func TestMatMulScalesRowsAndColumnsInAnyLayout(t *testing.T) {
	f32, bf16, e4m3, e5m2 := dtype.Float32, dtype.BFloat16, dtype.Float8E4M3, dtype.Float8E5M2
	for _, isa := range available() {
		for bits := range 1 << 7 {
			size := [][3]int{{37, 70, 45}, {1, 3, 1}, {9, 1, 33}}[bits%3]
			types := [][3]dtype.Type{{f32, e4m3, e4m3}, {bf16, e5m2, e4m3}, {f32, f32, f32}, {bf16, bf16, bf16}}[bits/3%4]
			checkLaid(t, isa, nil, size, types, bits)
		}
		for _, size := range [][3]int{{tileRows + 30, 3, 5}, {5, 3, 2*tileCols + 70}} { // several tiles
			checkLaid(t, isa, nil, size, [3]dtype.Type{f32, e4m3, e4m3}, 1<<4|1<<6)
		}
	}
	if list := available(); list[len(list)-1] >= AVX512 {
		for _, emulated := range []unit{unitFP16Emulated, unitAMXEmulated} {
			for bits := range 1 << 7 {
				checkLaid(t, AVX512, &emulated, [3]int{20, 70, 75}, [3]dtype.Type{f32, e5m2, e4m3}, bits)
			}
		}
	}
}

// checkLaid makes one product. Seven bits choose its options, the layouts and
// what has a scale a lane.
func checkLaid(t *testing.T, isa ISA, u *unit, size [3]int, types [3]dtype.Type, bits int) {
	t.Helper()
	bit := func(i int) bool { return bits>>i&1 == 1 }
	o := device.MatMulOptions{TransA: bit(0), TransB: bit(1), Accumulate: bit(2), FastAccum: bit(3) != bit(6)}
	dev := open(t, isa, 2)
	s := dev.NewStream("matmul").(*Stream)
	multiply := func(dst matrix, a, b tensor.Operand, o device.MatMulOptions) []float32 {
		p := newProduct(dev, dst.Tensor, a, b, o)
		if u != nil {
			p.unit = *u
		}
		p.run(s)
		return dst.read()
	}
	m, k, n := size[0], size[1], size[2]
	plainA, plainB := lay(t, dev, types[1], m, k, true, false, false, false, 1), lay(t, dev, types[2], n, k, false, false, false, false, 2)
	sums := multiply(newMatrix(t, dev, dtype.Float32, m, n, normal(3)), tensor.Operand{Tensor: plainA.Tensor}, tensor.Operand{Tensor: plainB.Tensor}, device.MatMulOptions{FastAccum: o.FastAccum})

	a := lay(t, dev, types[1], m, k, true, o.TransA, bit(3), bit(4), 1)
	b := lay(t, dev, types[2], n, k, false, o.TransB, bit(5), bit(6), 2)
	dst := newMatrix(t, dev, types[0], m, n, normal(3))
	old := append([]float32(nil), dst.v...)
	for i, got := range multiply(dst, a.Operand, b.Operand, o) {
		want, slack := sums[i]*(a.invs[i/n]*b.invs[i%n]), 0.0
		if o.Accumulate { // one rounding or two
			slack = 0x1p-24 * math.Abs(float64(want))
			want = old[i] + float32(want)
			slack += 0x1p-23 * math.Abs(float64(want))
		}
		if types[0] == dtype.BFloat16 {
			want = dtype.ToBF16(want).Float32()
			if slack > 0 {
				slack += 0x1p-7 * math.Abs(float64(want))
			}
		}
		if !(math.Abs(float64(got-want)) <= slack) {
			t.Fatalf("%v, %v = %v · %v, invs %v, %v, %+v: [%d,%d] is %v, want %v", isa, dst, a, b, a.Inv, b.Inv, o, i/n, i%n, got, want)
		}
	}
}

func TestMatMulRefusesByName(t *testing.T) {
	const m, k, n = 3, 4, 5
	dev, err := Open(Options{Float8TN: true})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	s := dev.NewStream("matmul")
	f8, f32 := dtype.Float8E4M3, dtype.Float32
	of := func(ty dtype.Type, inv []int, transposed bool, shape ...int) tensor.Operand {
		o := tensor.Operand{Tensor: newTensor(t, dev, ty, shape...), Transposed: transposed}
		if inv != nil {
			o.Inv = newTensor(t, dev, f32, inv...)
		}
		return o
	}
	unpaired := of(f8, nil, false, m, k)
	unpaired.Scale = newTensor(t, dev, f32)
	none, whole := []int(nil), []int{}
	for _, c := range []struct {
		name string
		a, b tensor.Operand
		o    device.MatMulOptions
		want []string // nothing: it is taken
	}{
		{"TN", of(f8, whole, false, m, k), of(f8, whole, false, n, k), device.MatMulOptions{TransB: true}, nil},
		{"TN by layout", of(f8, whole, false, m, k), of(f8, whole, true, n, k), device.MatMulOptions{}, nil},
		{"TN by layout of both", of(f8, whole, true, m, k), of(f8, whole, true, n, k), device.MatMulOptions{TransA: true}, nil},
		{"not of float8", of(f32, none, false, k, m), of(dtype.BFloat16, none, false, k, n), device.MatMulOptions{TransA: true}, nil},
		{"right operand", of(f8, whole, false, m, k), of(f8, whole, false, k, n), device.MatMulOptions{}, []string{"float8_e4m3fn[3 4] · float8_e4m3fn[4 5]", "here of 4"}},
		{"left operand", of(f8, whole, true, k, m), of(f32, none, false, k, n), device.MatMulOptions{}, []string{"float8_e4m3fn[4 3] transposed", "is contiguous"}},
		{"left operand of two", of(f8, whole, false, k, m), of(f8, whole, false, n, k), device.MatMulOptions{TransA: true, TransB: true}, []string{"float8_e4m3fn[4 3]", "TransA true"}},
		{"columns on the left", of(f8, []int{1, k}, false, m, k), of(f8, whole, false, n, k), device.MatMulOptions{TransB: true}, []string{"float8_e4m3fn[3 4]", "a scale a column", "float32[1 4]", "summed"}},
		{"rows on the left", of(f8, []int{m, 1}, false, m, k), of(f8, whole, false, n, k), device.MatMulOptions{TransB: true}, nil},
		{"columns on the right, transposed", of(f8, whole, false, m, k), of(f8, []int{1, k}, false, n, k), device.MatMulOptions{TransB: true}, []string{"a scale a column", "float32[1 4]"}},
		{"rows on the right", of(f8, whole, false, m, k), of(f8, []int{k, 1}, true, n, k), device.MatMulOptions{}, []string{"a scale a row", "float32[4 1]"}},
		{"rows on the right, transposed", of(f8, whole, false, m, k), of(f8, []int{n, 1}, false, n, k), device.MatMulOptions{TransB: true}, nil},
		{"a scale alone", unpaired, of(f8, whole, false, n, k), device.MatMulOptions{TransB: true}, []string{"not its reciprocal"}},
	} {
		got := panicOf(func() { s.MatMul(newTensor(t, dev, f32, m, n), c.a, c.b, c.o) })
		if (got == "") != (c.want == nil) {
			t.Errorf("%s: panic %q, want %q", c.name, got, c.want)
		}
		for _, part := range c.want {
			if !strings.Contains(got, part) {
				t.Errorf("%s: panic %q does not name %q", c.name, got, part)
			}
		}
	}
	if !s.Float8TN() || open(t, Portable, 1).NewStream("other").Float8TN() {
		t.Error("Float8TN is not what Options say")
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
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
