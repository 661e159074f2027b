// SPDX-License-Identifier: Apache-2.0

// Package devicetest is the conformance suite of package device: what any
// device must compute, at edge sizes too, and how its streams must behave.
// Kernels are compared with plain float64 functions written here, gradients
// with finite differences of those.
//
// A device's own test runs the whole suite on a device made for each subtest,
// says what it promises, and compares the bits of variants that must agree:
//
//	func TestConformance(t *testing.T) {
//		devicetest.Run(t, devicetest.Options{
//			Open: func(t *testing.T) device.Device { return open(t, 1) },
//			Hold: hold,
//		})
//	}
//
//	one, two := devicetest.Bits(t, open(t, 1)), devicetest.Bits(t, open(t, 2))
//	if diff := cmp.Diff(one, two); diff != "" { … }
package devicetest

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// Options are a device under test: how it is opened, and what it promises
// beside the contracts of package device.
type Options struct {
	// Open makes a device for one test and ends it by t.Cleanup.
	Open func(t *testing.T) device.Device
	// Hold keeps a stream from doing what is enqueued after it, until release is
	// called.
	Hold func(s device.Stream) (release func())
	// Tolerance is how many times the error of sequential float32 sums, rounded
	// once, a result may have; 0 means once. Casts and copies are always exact.
	Tolerance float64
	// SkipsAfterError: nothing that is enqueued behind an error runs before Sync
	// has returned it. Without, it may run or not.
	SkipsAfterError bool
	// RoundsP tells of which heads the attention of bf16 rounds the weights of values to bf16, as their
	// gradients' may always; nil: of none.
	RoundsP func(hd int) bool
}

// Run runs the suite.
func Run(t *testing.T, o Options) {
	RunKernels(t, o)
	t.Run("stream", func(t *testing.T) { RunStream(t, o) })
}

// RunKernels runs the part about what kernels compute, of a device whose streams may do
// their work at once.
func RunKernels(t *testing.T, o Options) { runCases(t, o, cases()) }

// RunMatMul runs the part about products, for a device that has several ways to make them.
func RunMatMul(t *testing.T, o Options) { runCases(t, o, matMulCases()) }

func runCases(t *testing.T, o Options, all []kernelCase) {
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t, o.Open(t), c.name)
			h.tolerance, h.roundsP = o.Tolerance, o.RoundsP
			c.run(h)
			h.check()
		})
	}
}

// Bits runs every kernel on fixed inputs and returns what they wrote, by case
// and output.
func Bits(t *testing.T, dev device.Device) map[string][]byte {
	t.Helper()
	bits := map[string][]byte{}
	for _, c := range cases() {
		h := newHarness(t, dev, c.name)
		c.run(h)
		for i, b := range h.fetch() {
			bits[c.name+": "+h.results[i].name] = b
		}
	}
	return bits
}

// Slow reports whether the race detector is on, under which Go takes ten times as
// long and more. It looks for races of threads, which every kernel shows at any size:
// the suite leaves out the shapes whose expected values take longest.
func Slow() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// tooLong reports whether a case of so many products is left out.
func (h *harness) tooLong(products int) bool { return h.slow && products > 50_000 }

// kernelCase runs kernels and notes what their outputs should be.
type kernelCase struct {
	name string
	run  func(h *harness)
}

func cases() []kernelCase {
	var all []kernelCase
	for _, group := range [][]kernelCase{
		elementwiseCases(), castCases(), axisCases(), castStatsCases(), amaxCases(), madeAmaxCases(), delayedCases(), matMulCases(), embeddingCases(), normCases(),
		ropeCases(), attentionCases(), swiGLUCases(), activationCases(), layerNormCases(), lossCases(), squaredErrorCases(), optimCases(), nanCases(),
	} {
		all = append(all, group...)
	}
	return all
}

// harness makes inputs and outputs of one case.
type harness struct {
	testing.TB
	device.Stream
	pool      *device.Pool
	rand      *rand.Rand
	tolerance float64 // as of Options
	roundsP   func(hd int) bool
	slow      bool
	results   []result
}

// result is an output and what it should be, within tol of its own size and
// of the root mean square of all, or within a bound for each value.
type result struct {
	name  string
	got   *tensor.Tensor
	want  []float64
	tol   float64
	bound []float64 // nil: tol
}

func newHarness(t testing.TB, dev device.Device, name string) *harness {
	seed := fnv.New64()
	seed.Write([]byte(name))
	return &harness{TB: t, Stream: dev.NewStream("test"), pool: device.NewPool(dev), rand: rand.New(rand.NewPCG(seed.Sum64(), 1)), slow: Slow()}
}

// input is a tensor and the values it holds.
type input struct {
	*tensor.Tensor
	v []float64
}

// put uploads values, rounded to ty.
func (h *harness) put(ty dtype.Type, values []float64, shape ...int) input {
	t := h.pool.New(ty, shape...)
	mem := encode(ty, values)
	h.Upload(t, mem)
	return input{t, decode(ty, mem)}
}

// normal is an input of normally distributed values.
func (h *harness) normal(ty dtype.Type, shape ...int) input {
	v := make([]float64, numel(shape))
	for i := range v {
		v[i] = h.rand.NormFloat64()
	}
	return h.put(ty, v, shape...)
}

// ints is an input of integers in [0,n).
func (h *harness) ints(n int, shape ...int) input {
	v := make([]float64, numel(shape))
	for i := range v {
		v[i] = float64(h.rand.IntN(n))
	}
	return h.put(dtype.Int32, v, shape...)
}

// out is an output full of a pattern no kernel should leave behind.
func (h *harness) out(ty dtype.Type, shape ...int) *tensor.Tensor {
	t := h.pool.New(ty, shape...)
	mem := make([]byte, t.Bytes())
	for i := range mem {
		mem[i] = 0xAB
	}
	h.Upload(t, mem)
	return t
}

// want notes what a tensor should hold.
func (h *harness) want(name string, got *tensor.Tensor, want []float64, tol float64) {
	h.results = append(h.results, result{name: name, got: got, want: want, tol: tol})
}

// within gives each value of the last want a bound of its own, for a bound that was derived; nil
// leaves its tolerance. What float32 costs is allowed beside.
func (h *harness) within(bound []float64) { h.results[len(h.results)-1].bound = bound }

// values waits and returns what t holds.
func (h *harness) values(t *tensor.Tensor) []float64 {
	h.Helper()
	mem := make([]byte, t.Bytes())
	h.Download(mem, t)
	if err := h.Sync(); err != nil {
		h.Fatal(err)
	}
	return decode(t.Type, mem)
}

// fetch waits and returns the bytes of each result.
func (h *harness) fetch() [][]byte {
	h.Helper()
	all := make([][]byte, len(h.results))
	for i, r := range h.results {
		all[i] = make([]byte, r.got.Bytes())
		h.Download(all[i], r.got)
	}
	if err := h.Sync(); err != nil {
		h.Fatal(err)
	}
	return all
}

// check compares every result.
func (h *harness) check() {
	h.Helper()
	for i, mem := range h.fetch() {
		r := h.results[i]
		got := decode(r.got.Type, mem)
		if len(got) != len(r.want) {
			h.Fatalf("%s: %d values, want %d", r.name, len(got), len(r.want))
		}
		floor, tol := rms(r.want), r.tol*max(1, h.tolerance)
		bad := 0
		for j, w := range r.want {
			allowed := tol * (math.Abs(w) + floor)
			if r.bound != nil {
				allowed = max(1, h.tolerance) * (r.bound[j] + tolerance(dtype.Float32)*(math.Abs(w)+floor))
			}
			if same(got[j], w, allowed) {
				continue
			}
			if bad++; bad <= 3 {
				h.Errorf("%s[%d] = %v, want %v ± %g", r.name, j, got[j], w, allowed)
			}
		}
		if bad > 3 {
			h.Errorf("%s: %d of %d values are wrong", r.name, bad, len(got))
		}
	}
}

func same(got, want, tol float64) bool {
	if math.IsNaN(want) || math.IsNaN(got) {
		return math.IsNaN(want) && math.IsNaN(got)
	}
	return got == want || math.Abs(got-want) <= tol
}

func rms(v []float64) float64 {
	var sum float64
	n := 0
	for _, x := range v {
		if !math.IsNaN(x) && !math.IsInf(x, 0) {
			sum += x * x
			n++
		}
	}
	return math.Sqrt(sum / max(1, float64(n)))
}

// tolerance is what rounding to ty, after float32 arithmetic, may cost.
func tolerance(ty dtype.Type) float64 {
	if ty == dtype.BFloat16 {
		return 1.0 / 256
	}
	return 4e-6
}

func numel(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// encode and decode convert between values and memory.
func encode(ty dtype.Type, values []float64) []byte {
	mem := make([]byte, 0, len(values)*ty.Size())
	for _, v := range values {
		switch ty {
		case dtype.Float32:
			mem = binary.LittleEndian.AppendUint32(mem, math.Float32bits(float32(v)))
		case dtype.BFloat16:
			mem = binary.LittleEndian.AppendUint16(mem, uint16(dtype.ToBF16(float32(v))))
		case dtype.Int32:
			mem = binary.LittleEndian.AppendUint32(mem, uint32(int32(v)))
		default:
			mem = append(mem, ty.Format().Encode(float32(v)))
		}
	}
	return mem
}

func decode(ty dtype.Type, mem []byte) []float64 {
	values := make([]float64, len(mem)/ty.Size())
	for i := range values {
		switch ty {
		case dtype.Float32:
			values[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(mem[4*i:])))
		case dtype.BFloat16:
			values[i] = float64(dtype.BF16(binary.LittleEndian.Uint16(mem[2*i:])).Float32())
		case dtype.Int32:
			values[i] = float64(int32(binary.LittleEndian.Uint32(mem[4*i:])))
		default:
			values[i] = float64(ty.Format().Decode(mem[i]))
		}
	}
	return values
}

// round is v as ty holds it.
func round(ty dtype.Type, v []float64) []float64 { return decode(ty, encode(ty, v)) }

// both are the high-precision types.
var both = []dtype.Type{dtype.Float32, dtype.BFloat16}

// numericGrad is the gradient of f by central differences at each element of
// x, which f reads.
func numericGrad(x []float64, f func() float64) []float64 {
	const h = 1e-5
	grad := make([]float64, len(x))
	for i, v := range x {
		x[i] = v + h
		up := f()
		x[i] = v - h
		grad[i] = (up - f()) / (2 * h)
		x[i] = v
	}
	return grad
}

// dot is Σ a·b: the loss whose gradient with respect to b is a.
func dot(a, b []float64) float64 {
	var sum float64
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}
