// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"unsafe"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
	"octet/test/golden"
)

// Kernels are called directly here, on Go memory.
func vecOfSlice[T any](t dtype.Type, s []T) vec {
	return vec{p: unsafe.Pointer(unsafe.SliceData(s)), n: len(s), t: t}
}

// castOf is the codes that a table's cast gives.
func castOf(t *table, to dtype.Type, src vec, scale float32) []byte {
	codes := make([]byte, src.n)
	t.cast(vecOfSlice(to, codes), src, scale)
	return codes
}

func allBF16() []uint16 {
	all := make([]uint16, 1<<16)
	for i := range all {
		all[i] = uint16(i)
	}
	return all
}

// TestCastsArePyTorchs reads golden data made by PyTorch; see
// testdata/golden/README.md.
func TestCastsArePyTorchs(t *testing.T) {
	set := golden.Open(t, "casts.safetensors")
	eachISA(t, func(t *testing.T, isa ISA) {
		for source, ty := range map[string]dtype.Type{"bf16": dtype.BFloat16, "f32": dtype.Float32} {
			src := set.Bytes(t, source)
			x := vec{p: unsafe.Pointer(unsafe.SliceData(src)), n: len(src) / ty.Size(), t: ty}
			for _, to := range float8s {
				want := bytes.Clone(set.Bytes(t, source+"."+to.Format().Name))
				for i, code := range want {
					if v := to.Format().Decode(code); v != v {
						want[i] = to.Format().NaN()
					}
				}
				if got := castOf(tableOf(isa), to, x, 1); !bytes.Equal(got, want) {
					t.Errorf("%v to %v differs", ty, to)
				}
			}
		}
	})
}

func TestScalesArePyTorchs(t *testing.T) {
	set := golden.Open(t, "scales.safetensors")
	dev := open(t, Portable, 1)
	s := dev.NewStream("test")
	mem := set.Bytes(t, "amax")
	amax, scales, invs := newTensor(t, dev, dtype.Float32, len(mem)/4), newTensor(t, dev, dtype.Float32, len(mem)/4), newTensor(t, dev, dtype.Float32, len(mem)/4)
	s.Upload(amax, mem)
	for _, ty := range float8s {
		for pow2, kind := range map[bool]string{false: "scale.", true: "pow2."} {
			s.Scales(scales, invs, amax, []dtype.Type{ty}, pow2)
			got, want := make([]byte, len(mem)), set.Bytes(t, kind+ty.Format().Name)
			s.Download(got, scales)
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
			for i := range len(mem) / 4 {
				g, w := f32At(got, i), f32At(want, i)
				if g != w && (g == g || w == w) {
					t.Errorf("%s%v of amax %v: %v, want %v", kind, ty, f32At(mem, i), g, w)
				}
			}
		}
	}
}

func TestCastOfEveryBF16IsTheOracles(t *testing.T) {
	x := vecOfSlice(dtype.BFloat16, allBF16())
	eachISA(t, func(t *testing.T, isa ISA) {
		for _, to := range float8s {
			for _, scale := range append(drawnScales(100), 1, 149.33333, 0.1, 0x1p-100, 0x1p100, 0, float32(math.Inf(1)), float32(math.NaN()), -3, 0x1p-140) {
				if !bytes.Equal(castOf(tableOf(isa), to, x, scale), castOf(portable(), to, x, scale)) {
					t.Errorf("cast of bf16 to %v with scale %v is not the oracle's", to, scale)
				}
			}
		}
		if got, want := tableOf(isa).amax(x), portable().amax(x); got != want {
			t.Errorf("amax is %#x, want %#x", got, want)
		}
		wide, back := make([]float32, x.n), make([]uint16, x.n)
		tableOf(isa).convert(vecOfSlice(dtype.Float32, wide), x)
		tableOf(isa).convert(vecOfSlice(dtype.BFloat16, back), vecOfSlice(dtype.Float32, wide))
		for i, b := range back {
			if want := dtype.ToBF16(dtype.BF16(i).Float32()); dtype.BF16(b) != want {
				t.Fatalf("bf16 %#04x comes back as %#04x, want %#04x", i, b, want)
			}
		}
	})
}

// drawnScales are n scales of any mantissa and exponent, and all powers of two.
func drawnScales(n int) (scales []float32) {
	r := rand.New(rand.NewPCG(7, 8))
	for range n {
		scales = append(scales, math.Float32frombits(r.Uint32()&math.MaxInt32)) // NaN as well
	}
	for e := range 256 {
		scales = append(scales, math.Float32frombits(uint32(e)<<23))
	}
	return scales
}

// Whatever shares a scale and however the codes lie, each is the oracle's.
func TestCastOfEveryBF16WithManyScalesIsTheOracles(t *testing.T) {
	const rows, cols = 256, 256
	x := vecOfSlice(dtype.BFloat16, allBF16())
	drawn := drawnScales(rows)
	powers := drawn[rows:]
	narrow := powers[100:150]
	var moderate, uneven []float32
	for i := range rows {
		moderate = append(moderate, narrow[i%len(narrow)])
		uneven = append(uneven, narrow[i%len(narrow)]*1.7)
	}
	eachISA(t, func(t *testing.T, isa ISA) {
		for _, to := range float8s {
			for name, scales := range map[string][]float32{"any": drawn[:rows], "powers of two": powers, "moderate powers of two": moderate, "moderate": uneven} {
				for _, scale := range []factors{{p: scales, row: 1}, {p: scales, col: 1}, {p: scales[40:]}} {
					for layouts := 1; layouts <= 3; layouts++ {
						of := func(table *table) (codes [2][rows * cols]byte) {
							var dst [2]vec
							for i := range dst {
								if layouts>>i&1 == 1 {
									dst[i] = vecOfSlice(to, codes[i][:])
								}
							}
							table.castMatrix(dst[0], dst[1], x, rows, cols, 3, rows-2, factors{}, scale)
							return codes
						}
						if of(tableOf(isa)) != of(portable()) {
							t.Errorf("cast of bf16 to %v, scales (%s) by rows %d, by columns %d, layouts %d: not the oracle's", to, name, scale.row, scale.col, layouts)
						}
					}
				}
			}
		}
		rows16, want16 := make([]uint32, rows), make([]uint32, rows)
		tableOf(isa).amaxRows(rows16, x.part(0, 255*cols), factors{})
		portable().amaxRows(want16, x.part(0, 255*cols), factors{})
		if !slices.Equal(rows16, want16) {
			t.Error("amaxes of rows are not the oracle's")
		}
	})
}

// TestBF16IsRoundedToNearestEven: every bf16 and what is at and beside the middle to the
// next, converted, and as a matmul with 1 writes it.
func TestBF16IsRoundedToNearestEven(t *testing.T) {
	var values []float32
	for b := range uint32(1 << 16) {
		for _, low := range []uint32{0, 0x7FFF, 0x8000, 0x8001} {
			values = append(values, math.Float32frombits(b<<16|low))
		}
	}
	eachISA(t, func(t *testing.T, isa ISA) {
		dev := open(t, isa, 1)
		s := dev.NewStream("test")
		x, one := newTensor(t, dev, dtype.Float32, len(values), 1), newTensor(t, dev, dtype.Float32, 1, 1)
		converted, multiplied := newTensor(t, dev, dtype.BFloat16, len(values), 1), newTensor(t, dev, dtype.BFloat16, len(values), 1)
		s.Upload(x, device.Float32Bytes(values))
		s.Upload(one, device.Float32Bytes([]float32{1}))
		s.Copy(converted, x)
		s.MatMul(multiplied, tensor.Operand{Tensor: x}, tensor.Operand{Tensor: one}, device.MatMulOptions{})
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		for i, v := range values {
			want := dtype.ToBF16(v)
			if got := as[dtype.BF16](converted)[i]; got != want {
				t.Fatalf("%#08x becomes %#04x, want %#04x", math.Float32bits(v), got, want)
			}
			got := as[dtype.BF16](multiplied)[i].Float32() // 0 + -0·1 is 0
			if w := want.Float32(); got != w && (got == got || w == w) {
				t.Fatalf("%#08x times 1 becomes %v, want %v", math.Float32bits(v), got, w)
			}
		}
	})
}

// checkF32 compares casts and bf16 rounding of f32 values, on every
// instruction set, with the oracle.
func checkF32(t *testing.T, values []float32, scale float32) {
	t.Helper()
	x := vecOfSlice(dtype.Float32, values)
	for _, to := range float8s {
		want := castOf(portable(), to, x, scale)
		for _, isa := range available() {
			got := castOf(tableOf(isa), to, x, scale)
			if !bytes.Equal(got, want) {
				i := firstDifference(got, want)
				t.Fatalf("%v: %v of %x times %v is %#02x, want %#02x", isa, to, math.Float32bits(values[i]), scale, got[i], want[i])
			}
		}
	}
	want := make([]uint16, x.n)
	convertGo(vecOfSlice(dtype.BFloat16, want), x)
	for _, isa := range available() {
		got := make([]uint16, x.n)
		tableOf(isa).convert(vecOfSlice(dtype.BFloat16, got), x)
		if !slices.Equal(got, want) {
			i := firstDifference(got, want)
			t.Fatalf("%v: bf16 of %x is %#04x, want %#04x", isa, math.Float32bits(values[i]), got[i], want[i])
		}
	}
}

func firstDifference[T comparable](a, b []T) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

func FuzzCast(f *testing.F) {
	f.Add([]byte{0, 0, 128, 63, 1, 0, 128, 127, 0, 0, 232, 67, 1}, uint32(0x3F800000))
	f.Add(bytes.Repeat([]byte{0xFF, 0x3D, 0x00, 0x80, 0x43}, 30), uint32(0x43155555))
	f.Fuzz(func(t *testing.T, mem []byte, scale uint32) {
		values := make([]float32, len(mem)/4)
		for i := range values {
			values[i] = f32At(mem, i)
		}
		checkF32(t, values, math.Float32frombits(scale))
	})
}

// checkLayouts compares, on every instruction set, the casts of mem as f32 and
// bf16 [rows,cols] into each layout and into both, by factors of every kind, its
// amaxes and its transpositions, with the oracle's. Rows go in pieces, as a stream cuts them.
func checkLayouts(t *testing.T, mem []byte, cols int, scale float32) {
	t.Helper()
	for _, from := range []dtype.Type{dtype.Float32, dtype.BFloat16, dtype.Float8E4M3} {
		rows := len(mem) / from.Size() / cols
		x := vec{p: unsafe.Pointer(unsafe.SliceData(mem)), n: rows * cols, t: from}
		if x.n == 0 {
			continue
		}
		pieces := func(f func(lo, hi int)) {
			for lo := 0; lo < rows; lo += 24 {
				f(lo, min(rows, lo+24))
			}
		}
		// A margin behind each result tells of a write outside it.
		result := func() []byte { return bytes.Repeat([]byte{0xAB}, x.n*from.Size()+64) }
		equal := func(isa ISA, what string, got, want []byte) {
			if i := firstDifference(got, want); i >= 0 {
				t.Fatalf("%v: %s of %v [%d,%d]: byte %d is %#02x, want %#02x", isa, what, from, rows, cols, i, got[i], want[i])
			}
		}
		turn := func(isa ISA) []byte {
			y := result()
			pieces(func(lo, hi int) {
				tableOf(isa).transpose(vec{p: unsafe.Pointer(unsafe.SliceData(y)), n: x.n, t: from}, x, rows, cols, lo, hi)
			})
			return y
		}
		for _, isa := range available() {
			equal(isa, "transpose", turn(isa), turn(Portable))
		}
		if from.IsFloat8() {
			continue
		}
		for _, to := range float8s {
			for _, by := range factorsOfEachKind(scale, rows, cols) {
				plain, want := result(), result()
				castMatrixGo(vecOfSlice(to, plain[:x.n]), vec{}, x, rows, cols, 0, rows, by[0], by[1])
				transposeGo(vecOfSlice(to, want[:x.n]), vecOfSlice(to, plain[:x.n]), rows, cols, 0, rows)
				for _, isa := range available() {
					straight, alone, both, bothT := result(), result(), result(), result()
					pieces(func(lo, hi int) {
						castMatrix := tableOf(isa).castMatrix
						castMatrix(vecOfSlice(to, straight[:x.n]), vec{}, x, rows, cols, lo, hi, by[0], by[1])
						castMatrix(vec{}, vecOfSlice(to, alone[:x.n]), x, rows, cols, lo, hi, by[0], by[1])
						castMatrix(vecOfSlice(to, both[:x.n]), vecOfSlice(to, bothT[:x.n]), x, rows, cols, lo, hi, by[0], by[1])
					})
					equal(isa, "cast", straight, plain)
					equal(isa, "transposed cast", alone, want)
					equal(isa, "transposed cast beside the plain one", bothT, want)
					equal(isa, "plain cast beside the transposed one", both, plain)
				}
			}
		}
		checkAmaxes(t, x, rows, cols, scale)
	}
}

// factorsOfEachKind are pairs of what a cast multiplies by, made of a number: none, one
// for all, one a row and one a column.
func factorsOfEachKind(scale float32, rows, cols int) (pairs [][2]factors) {
	many := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = scale * float32(i+1)
		}
		return v
	}
	kinds := []factors{{}, {p: []float32{scale}}, {p: many(rows), row: 1}, {p: many(cols), col: 1}}
	for i, fold := range kinds {
		pairs = append(pairs, [2]factors{fold, kinds[(i+1)%4]}, [2]factors{fold, kinds[(i+2)%4]})
	}
	return pairs
}

// checkAmaxes compares those of rows and columns with the oracle's, of every
// fold; NaNs may be any.
func checkAmaxes(t *testing.T, x vec, rows, cols int, scale float32) {
	t.Helper()
	canonical := func(bits []uint32) []uint32 {
		for i, b := range bits {
			if b > infBits {
				bits[i] = nanBits
			}
		}
		return bits
	}
	for _, by := range factorsOfEachKind(scale, rows, cols) {
		find := func(isa ISA) (byRow, byColumn []uint32) {
			byRow, byColumn = make([]uint32, rows), make([]uint32, cols)
			tableOf(isa).amaxRows(byRow, x, by[0])
			for lo := 0; lo < rows; lo += 24 {
				hi := min(rows, lo+24)
				tableOf(isa).amaxColumns(byColumn, x.part(lo*cols, hi*cols), by[0].rows(lo, hi))
			}
			return canonical(byRow), canonical(byColumn)
		}
		wantRow, wantColumn := find(Portable)
		for _, isa := range available() {
			byRow, byColumn := find(isa)
			if i := firstDifference(byRow, wantRow); i >= 0 {
				t.Fatalf("%v: amax of row %d of %v [%d,%d] is %#x, want %#x", isa, i, x.t, rows, cols, byRow[i], wantRow[i])
			}
			if i := firstDifference(byColumn, wantColumn); i >= 0 {
				t.Fatalf("%v: amax of column %d of %v [%d,%d] is %#x, want %#x", isa, i, x.t, rows, cols, byColumn[i], wantColumn[i])
			}
		}
	}
}

func TestCastsInBothLayoutsAreTheOracles(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, size := range [][2]int{{1, 1}, {1, 40}, {40, 1}, {15, 17}, {16, 16}, {24, 24}, {33, 31}, {50, 100}} {
		mem := make([]byte, 4*size[0]*size[1])
		for i := range mem {
			mem[i] = byte(r.Uint32())
		}
		checkLayouts(t, mem, size[1], 0.7)
	}
}

func FuzzCastLayouts(f *testing.F) {
	f.Add(bytes.Repeat([]byte{0xFF, 0x3D, 0x00, 0x80, 0x43}, 300), uint8(17), uint32(0x43155555))
	f.Fuzz(func(t *testing.T, mem []byte, cols uint8, scale uint32) {
		checkLayouts(t, mem, int(cols)+1, math.Float32frombits(scale))
	})
}

func TestCastOfEveryF32IsTheOracles(t *testing.T) {
	if os.Getenv("OCTET_HEAVY") == "" {
		t.Skip("takes minutes: needs OCTET_HEAVY=1 (make heavy)")
	}
	values := make([]float32, 1<<20)
	for high := range uint32(1 << 12) {
		for i := range values {
			values[i] = math.Float32frombits(high<<20 | uint32(i))
		}
		checkF32(t, values, 1)
	}
}

func f32At(mem []byte, i int) float32 {
	return math.Float32frombits(binary.LittleEndian.Uint32(mem[4*i:]))
}

func newTensor(t testing.TB, dev *Device, ty dtype.Type, shape ...int) *tensor.Tensor {
	t.Helper()
	n := ty.Size()
	for _, d := range shape {
		n *= d
	}
	buf, err := dev.Alloc(n)
	if err != nil {
		t.Fatal(err)
	}
	return tensor.New(buf, ty, shape...)
}
