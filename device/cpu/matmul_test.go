// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

var (
	float8s  = []dtype.Type{dtype.Float8E4M3, dtype.Float8E5M2}
	operands = append([]dtype.Type{dtype.Float32, dtype.BFloat16}, float8s...)
)

// String names a unit in what tests say.
func (u unit) String() string {
	return [...]string{"portable", "avx2", "avx512", "bf16dot", "fp16", "fp16 emulated", "amx", "amx emulated"}[u]
}

// matrix is a test's tensor on a device, and its values.
type matrix struct {
	*tensor.Tensor
	rows, cols int
	v          []float32
}

// newMatrix encodes v, and keeps what the encoding left of it.
func newMatrix(t testing.TB, dev *Device, typ dtype.Type, rows, cols int, v func(i int) float32) matrix {
	t.Helper()
	buf, err := dev.Alloc(rows*cols*typ.Size() + 64)
	if err != nil {
		t.Fatal(err)
	}
	m := matrix{tensor.New(buf, typ, rows, cols), rows, cols, make([]float32, rows*cols)}
	for i := range m.v {
		if typ.IsFloat8() {
			as[byte](m.Tensor)[i] = typ.Format().Encode(v(i))
		} else {
			vecOf(m.Tensor).set(i, v(i))
		}
	}
	m.read()
	return m
}

// read refreshes v from the device's memory.
func (m matrix) read() []float32 {
	for i := range m.v {
		if m.Type.IsFloat8() {
			m.v[i] = m.Type.Format().Decode(as[byte](m.Tensor)[i])
		} else {
			m.v[i] = vecOf(m.Tensor).at(i)
		}
	}
	return m.v
}

func normal(seed uint64) func(int) float32 {
	r := rand.New(rand.NewPCG(seed, 8))
	return func(int) float32 { return float32(r.NormFloat64()) }
}

// side is an operand of a test's product: op(x) is [rows,cols] after the
// transposition.
type side struct {
	matrix
	trans bool
}

func (x side) at(r, c int) float32 {
	if x.trans {
		r, c = c, r
	}
	return x.v[r*x.cols+c]
}

func newSide(t testing.TB, dev *Device, typ dtype.Type, rows, cols int, trans bool, v func(int) float32) side {
	if trans {
		rows, cols = cols, rows
	}
	return side{newMatrix(t, dev, typ, rows, cols, v), trans}
}

// oracle is op(a)·op(b) of element (i,j) with k terms: in float64, the same of
// the absolute values, and in float32 with k ascending.
func oracle(a, b side, i, j, k int) (sum, abs float64, sequential float32) {
	for l := range k {
		x, y := a.at(i, l), b.at(l, j)
		sum += float64(x) * float64(y)
		abs += math.Abs(float64(x) * float64(y))
		sequential += float32(x * y)
	}
	return sum, abs, sequential
}

// scaled is x, which was multiplied by scale.
func scaled(t testing.TB, dev *Device, x *tensor.Tensor, scale float32) tensor.Operand {
	scalar := func(v float32) *tensor.Tensor {
		return newMatrix(t, dev, dtype.Float32, 1, 1, func(int) float32 { return v }).View()
	}
	return tensor.Operand{Tensor: x, Scale: scalar(scale), Inv: scalar(1 / scale)}
}

// run multiplies on a fresh stream and returns dst's values.
func run(t testing.TB, dev *Device, dst matrix, a, b tensor.Operand, o device.MatMulOptions) []float32 {
	t.Helper()
	s := dev.NewStream("matmul")
	s.MatMul(dst.Tensor, a, b, o)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	return dst.read()
}

var layouts = []device.MatMulOptions{{}, {TransB: true}, {TransA: true}, {TransA: true, TransB: true}}

func TestMatMulIsWithinRoundingOfTheExactSum(t *testing.T) {
	const sa, sb = 3, 0.7
	sizes := [][3]int{{1, 1, 1}, {3, 5, 7}, {17, 33, 65}, {3, 1100, 18}, {19, 520, 9}, {23, 2, 5}}
	eachISA(t, func(t *testing.T, isa ISA) {
		for _, size := range sizes {
			m, k, n := size[0], size[1], size[2]
			t.Run(fmt.Sprint(size), func(t *testing.T) {
				dev := open(t, isa, 1)
				for _, ta := range operands {
					for _, tb := range operands {
						for i, o := range layouts {
							o.Accumulate = i%2 == 1
							a := newSide(t, dev, ta, m, k, o.TransA, normal(1))
							b := newSide(t, dev, tb, k, n, o.TransB, normal(2))
							opA := scaled(t, dev, a.Tensor, sa)
							opB := scaled(t, dev, b.Tensor, sb)
							for _, td := range []dtype.Type{dtype.Float32, dtype.BFloat16} {
								dst := newMatrix(t, dev, td, m, n, normal(3))
								old := append([]float32(nil), dst.v...)
								got := run(t, dev, dst, opA, opB, o)
								what := fmt.Sprintf("%v = %v · %v, %+v", dst, opA.Tensor, opB.Tensor, o)
								checkSums(t, what, isa, td, got, old, a, b, m, k, n, 1/float32(sa)*(1/float32(sb)), o.Accumulate)
							}
						}
					}
				}
			})
		}
	})
}

func checkSums(t *testing.T, what string, isa ISA, td dtype.Type, got, old []float32, a, b side, m, k, n int, scale float32, accumulate bool) {
	t.Helper()
	for i := range m {
		for j := range n {
			sum, abs, sequential := oracle(a, b, i, j, k)
			want, bound := sum*float64(scale), float64(k+2)*0x1p-24*abs*float64(scale)
			exact := sequential * scale
			if accumulate {
				want += float64(old[i*n+j])
				exact = old[i*n+j] + float32(exact)
				bound += math.Abs(want) * 0x1p-24
			}
			if td == dtype.BFloat16 {
				bound += (math.Abs(want) + bound) * 0x1p-8
				exact = dtype.ToBF16(exact).Float32()
			}
			v := got[i*n+j]
			if !(math.Abs(float64(v)-want) <= bound) {
				t.Fatalf("%s: [%d,%d] = %v, want %v ± %.2g", what, i, j, v, want, bound)
			}
			if isa == Portable && v != exact {
				t.Fatalf("%s: [%d,%d] = %v, sums in ascending order give %v", what, i, j, v, exact)
			}
		}
	}
}

func TestMatMulOfSeveralTiles(t *testing.T) {
	const k = 6
	eachISA(t, func(t *testing.T, isa ISA) {
		dev := open(t, isa, 1)
		for _, size := range [][2]int{{tileRows + 30, 20}, {20, 2*tileCols + 70}} {
			m, n := size[0], size[1]
			a := newSide(t, dev, dtype.Float8E4M3, m, k, false, normal(1))
			b := newSide(t, dev, dtype.Float8E4M3, k, n, true, normal(2))
			got := run(t, dev, newMatrix(t, dev, dtype.Float32, m, n, normal(3)), tensor.Operand{Tensor: a.Tensor}, tensor.Operand{Tensor: b.Tensor}, device.MatMulOptions{TransB: true})
			checkSums(t, fmt.Sprint(size), isa, dtype.Float32, got, nil, a, b, m, k, n, 1, false)
		}
	})
}

func TestMatMulOfNothing(t *testing.T) {
	eachISA(t, func(t *testing.T, isa ISA) {
		dev := open(t, isa, 1)
		for _, size := range [][3]int{{0, 3, 3}, {3, 3, 0}, {3, 0, 3}} {
			for _, accumulate := range []bool{false, true} {
				m, k, n := size[0], size[1], size[2]
				dst := newMatrix(t, dev, dtype.Float32, m, n, func(int) float32 { return 5 })
				a, b := newMatrix(t, dev, dtype.Float32, m, k, normal(1)), newMatrix(t, dev, dtype.Float32, k, n, normal(1))
				want := float32(0)
				if accumulate {
					want = 5
				}
				for _, v := range run(t, dev, dst, tensor.Operand{Tensor: a.Tensor}, tensor.Operand{Tensor: b.Tensor}, device.MatMulOptions{Accumulate: accumulate}) {
					if v != want {
						t.Fatalf("%v, accumulate %t: %v, want %v", size, accumulate, v, want)
					}
				}
			}
		}
	})
}

// Every float8 code, subnormals, infinities and NaN included, reaches the
// multipliers with its exact value, as either operand in either layout.
func TestMatMulReadsEveryFloat8Code(t *testing.T) {
	eachISA(t, func(t *testing.T, isa ISA) {
		dev := open(t, isa, 1)
		for _, typ := range float8s {
			codes := newMatrix(t, dev, typ, 256, 1, func(int) float32 { return 0 })
			for i := range 256 {
				as[byte](codes.Tensor)[i] = byte(i)
			}
			for _, other := range operands {
				one := newMatrix(t, dev, other, 1, 1, func(int) float32 { return 1 })
				row, column := tensor.Operand{Tensor: codes.View(1, 256)}, tensor.Operand{Tensor: codes.Tensor}
				opOne := tensor.Operand{Tensor: one.Tensor}
				for _, c := range []struct {
					name string
					a, b tensor.Operand
					o    device.MatMulOptions
				}{
					{"a [256,1]", column, opOne, device.MatMulOptions{}},
					{"a [1,256] transposed", row, opOne, device.MatMulOptions{TransA: true}},
					{"b [1,256]", opOne, row, device.MatMulOptions{}},
					{"b [256,1] transposed", opOne, column, device.MatMulOptions{TransB: true}},
				} {
					shape := [2]int{256, 1}
					if c.a == opOne {
						shape = [2]int{1, 256}
					}
					got := run(t, dev, newMatrix(t, dev, dtype.Float32, shape[0], shape[1], normal(1)), c.a, c.b, c.o)
					for code, v := range got {
						want := typ.Format().Decode(byte(code))
						if v != want && !(v != v && want != want) {
							t.Fatalf("%v as %s by %v: code %#02x is %v, want %v", typ, c.name, other, code, v, want)
						}
					}
				}
			}
		}
	})
}

func TestMatMulPropagatesNaNAndInf(t *testing.T) {
	const m, k, n = 20, 50, 40
	inf := float32(math.Inf(1))
	eachISA(t, func(t *testing.T, isa ISA) {
		dev := open(t, isa, 1)
		for _, typ := range operands {
			bad := []float32{float32(math.NaN())}
			if !typ.IsFloat8() { // a cast to float8 saturates
				bad = append(bad, inf)
			}
			for _, v := range bad {
				a := newMatrix(t, dev, typ, m, k, func(i int) float32 {
					if i == 7*k+49 {
						return v
					}
					return 1
				})
				b := newMatrix(t, dev, typ, k, n, func(int) float32 { return 1 })
				for _, td := range []dtype.Type{dtype.Float32, dtype.BFloat16} {
					got := run(t, dev, newMatrix(t, dev, td, m, n, normal(1)), tensor.Operand{Tensor: a.Tensor}, tensor.Operand{Tensor: b.Tensor}, device.MatMulOptions{})
					for i, x := range got {
						want := float32(k)
						if i/n == 7 {
							want = v
						}
						if x != want && !(x != x && want != want) {
							t.Fatalf("%v, %v in row 7 of a: [%d,%d] = %v, want %v", typ, v, i/n, i%n, x, want)
						}
					}
				}
			}
		}
	})
}

func TestMatMulDoesNotDependOnThreads(t *testing.T) {
	const m, k, n = 2*minTileRows + 16, 1100, 20 // two tiles for several threads
	eachISA(t, func(t *testing.T, isa ISA) {
		for _, typ := range []dtype.Type{dtype.Float32, dtype.Float8E4M3} {
			var first []float32
			for _, threads := range []int{1, 2, 3} {
				dev := open(t, isa, threads)
				a, b := newMatrix(t, dev, typ, m, k, normal(1)), newMatrix(t, dev, typ, k, n, normal(2))
				got := run(t, dev, newMatrix(t, dev, dtype.Float32, m, n, normal(3)), tensor.Operand{Tensor: a.Tensor}, tensor.Operand{Tensor: b.Tensor}, device.MatMulOptions{})
				if first == nil {
					first = got
				}
				for i, v := range got {
					if math.Float32bits(v) != math.Float32bits(first[i]) {
						t.Fatalf("%v: element %d is %v with %d threads, %v with one", typ, i, v, threads, first[i])
					}
				}
			}
		}
	})
}

// The golden layer: every sum is exact in float32, so any order must give
// these bits. Hashes are of torchao's tensorwise recipe in bfloat16
// (testdata/golden/hashes.py).
func TestMatMulGoldenLayer(t *testing.T) {
	const m, k, n = 48, 32, 64
	element := func(cols, a, o, p int) func(int) float32 {
		return func(i int) float32 {
			return float32((i*a+o)%27-13) / 8 * float32(int(1)<<(i/cols*p%3))
		}
	}
	cast := func(t *testing.T, dev *Device, typ dtype.Type, rows, cols int, v func(int) float32) tensor.Operand {
		scale := typ.Format().Scale(6.5, false) // the amax of all three tensors
		q := newMatrix(t, dev, typ, rows, cols, func(i int) float32 { return v(i) * scale })
		return scaled(t, dev, q.Tensor, scale)
	}
	eachISA(t, func(t *testing.T, isa ISA) {
		dev := open(t, isa, 1)
		x := cast(t, dev, dtype.Float8E4M3, m, k, element(k, 37, 11, 1))
		w := cast(t, dev, dtype.Float8E4M3, n, k, element(k, 53, 29, 2))
		dy := cast(t, dev, dtype.Float8E5M2, m, n, element(n, 71, 5, 1))
		for _, c := range []struct {
			name       string
			rows, cols int
			a, b       tensor.Operand
			o          device.MatMulOptions
			hash       string
		}{
			{"Y", m, n, x, w, device.MatMulOptions{TransB: true}, "8629f0ddab71252838559a3225530a2f"},
			{"dX", m, k, dy, w, device.MatMulOptions{}, "63dba34e328df072d911ded26d3e23df"},
			{"dW", n, k, dy, x, device.MatMulOptions{TransA: true}, "16341018cf58f882e53cf7cbea83a661"},
		} {
			dst := newMatrix(t, dev, dtype.BFloat16, c.rows, c.cols, normal(1))
			run(t, dev, dst, c.a, c.b, c.o)
			sum := sha256.Sum256(raw(dst.Tensor))
			if got := hex.EncodeToString(sum[:16]); got != c.hash {
				t.Errorf("%s: %s, want %s", c.name, got, c.hash)
			}
		}
	})
}

// The units of each instruction set, as docs/kernels.md tells.
func TestMatMulChoosesTheUnit(t *testing.T) {
	f32, bf16, f8, f8g := dtype.Float32, dtype.BFloat16, dtype.Float8E4M3, dtype.Float8E5M2
	for _, c := range []struct {
		isa  ISA
		a, b dtype.Type
		fast bool
		want unit
	}{
		{Portable, f8, f8, true, unitPortable},
		{AVX2, f8, f8, true, unitAVX2},
		{AVX512, f8, f8, true, unitAVX512},
		{AVX512BF16, f32, f32, false, unitAVX512},
		{AVX512BF16, f32, f8, false, unitAVX512},
		{AVX512BF16, bf16, bf16, false, unitBF16Dot},
		{AVX512BF16, f8g, f8, false, unitBF16Dot},
		{AVX512BF16, bf16, f8, true, unitBF16Dot},
		{AVX512FP16, f8, f8, true, unitFP16},
		{AVX512FP16, f8g, f8, true, unitFP16},
		{AVX512FP16, f8g, f8, false, unitAVX512},
		{AVX512FP16, bf16, f8, true, unitAVX512},
		{AVX512FP16, bf16, bf16, true, unitAVX512},
		{AMXBF16, bf16, bf16, false, unitAMX},
		{AMXBF16, f8g, f8, true, unitAMX},
		{AMXBF16, bf16, f8, false, unitAMX},
		{AMXBF16, f32, f8, true, unitAVX512},
		{AMXBF16, f32, f32, true, unitAVX512},
	} {
		if got := unitFor(c.isa, c.a, c.b, c.fast); got != c.want {
			t.Errorf("%v, %v · %v, fast accumulation %t: %v, want %v", c.isa, c.a, c.b, c.fast, got, c.want)
		}
	}
}

// Sums of 64 products in fp16 stay a thousand times below the error of a cast
// to float8, about 27 dB. The packing is the real one; the instruction is
// emulated, so that this runs on any AVX-512.
func TestMatMulFP16ChunksAreAccurate(t *testing.T) {
	isas := available()
	if best := isas[len(isas)-1]; best < AVX512 {
		t.Skipf("needs AVX-512; the best here is %v", best)
	}
	const m, n = 20, 70
	dev := open(t, AVX512, 1)
	units := []unit{unitFP16Emulated}
	for _, isa := range isas {
		if isa == AVX512FP16 {
			units = append(units, unitFP16)
		}
	}
	for _, k := range []int{1, 50, 64, 1000} {
		for _, typ := range float8s {
			for _, o := range layouts {
				// Scaled as a recipe does it: the largest of these is near the format's maximum.
				unitA, unitB := typ.Format().Max/5, dtype.E4M3FN.Max/5
				r, q := normal(1), normal(2)
				a := newSide(t, dev, typ, m, k, o.TransA, func(i int) float32 { return r(i) * unitA })
				b := newSide(t, dev, dtype.Float8E4M3, k, n, o.TransB, func(i int) float32 { return q(i) * unitB })
				for _, u := range units {
					dst := newMatrix(t, dev, dtype.Float32, m, n, normal(3))
					p := newProduct(dev, dst.Tensor, tensor.Operand{Tensor: a.Tensor}, tensor.Operand{Tensor: b.Tensor}, o)
					p.unit = u
					p.run(dev.NewStream("matmul").(*Stream))
					var signal, noise float64
					for i, v := range dst.read() {
						want, _, _ := oracle(a, b, i/n, i%n, k)
						signal += want * want
						noise += (float64(v) - want) * (float64(v) - want)
					}
					if dB := 10 * math.Log10(signal/noise); dB < 58 {
						t.Errorf("%v: %v · e4m3, k %d, %+v: %.1f dB, want 58", u, typ, k, o, dB)
					}
				}
			}
		}
	}
}

func TestMatMulPanicsWithTheShapes(t *testing.T) {
	dev := open(t, Portable, 1)
	s := dev.NewStream("matmul")
	zero := func(int) float32 { return 0 }
	a, b := newMatrix(t, dev, dtype.BFloat16, 3, 4, zero), newMatrix(t, dev, dtype.BFloat16, 5, 6, zero)
	dst := newMatrix(t, dev, dtype.Float32, 3, 6, zero)
	defer func() {
		want := "cpu: MatMul: float32[3 6] = op(bfloat16[3 4]) · op(bfloat16[5 6]) with TransA false, TransB false: op(a) is [3,4], op(b) [5,6]"
		if got := recover(); got != want {
			t.Errorf("panic %v, want %s", got, want)
		}
	}()
	s.MatMul(dst.Tensor, tensor.Operand{Tensor: a.Tensor}, tensor.Operand{Tensor: b.Tensor}, device.MatMulOptions{})
}
