// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"octet/device"
	"octet/device/devicetest"
	"octet/dtype"
	"octet/tensor"
)

// The tests TestHardware… and the benchmarks are for a real GPU: gpu-check (test/gpucheck) runs
// them. With OCTET_TEST_DEVICE=cuda they open whatever the environment has for octet's
// programs; its OCTET_CUDA_LIB may be the simulator, which proves the tests.

// hardware opens the GPU, which ends with the test.
func hardware(t testing.TB) *Device {
	t.Helper()
	if os.Getenv("OCTET_TEST_DEVICE") != "cuda" {
		t.Skip("OCTET_TEST_DEVICE=cuda runs it on a GPU")
	}
	d, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("closing the device: %v", err)
		}
	})
	return d
}

// hardwareTolerance is how many times the error of sequential sums in float32 a result may have: tensor
// cores cut what they add, and expf is an approximation.
const hardwareTolerance = 4

func onHardware(t *testing.T) devicetest.Options {
	d := hardware(t)
	t.Logf("%s: products %s", d.Name(), d.Products())
	return devicetest.Options{ // one device for all: opening it takes longer than most cases
		Open: func(*testing.T) device.Device { return d }, Hold: holdStream(t), Tolerance: hardwareTolerance, RoundsP: hasTiles,
	}
}

// TestHardwareConforms: the suite of every device, products through cuBLASLt where it is there.
func TestHardwareConforms(t *testing.T) { devicetest.Run(t, onHardware(t)) }

// TestHardwareConformsFromPTX: as the driver compiles it.
func TestHardwareConformsFromPTX(t *testing.T) {
	t.Setenv(ptxVariable, "1")
	devicetest.Run(t, onHardware(t))
}

// TestHardwareMultipliesWithoutCublasLt: with octet's own kernel.
func TestHardwareMultipliesWithoutCublasLt(t *testing.T) {
	t.Setenv("OCTET_CUBLASLT_LIB", "/none/libcublasLt.so.13")
	devicetest.RunMatMul(t, onHardware(t))
}

// TestHardwareHasTheSameBitsFromPTX: machine code and PTX are of one text.
func TestHardwareHasTheSameBitsFromPTX(t *testing.T) {
	want := devicetest.Bits(t, hardware(t))
	t.Setenv(ptxVariable, "1")
	got := devicetest.Bits(t, hardware(t))
	for name, bits := range want {
		if !bytes.Equal(bits, got[name]) {
			t.Errorf("%s: machine code and PTX give other bits", name)
		}
	}
}

// TestHardwareRunsStreamsApart: what waits for nobody reads before a writer that is held up, and what waits for
// its event after it. So a missing wait shows here, and one that is there helps.
func TestHardwareRunsStreamsApart(t *testing.T) {
	d := hardware(t)
	pool := device.NewPool(d)
	writer, reader := d.NewStream("compute"), d.NewStream("other")
	x, y, one, two := pool.New(dtype.Float32, 1<<20), pool.New(dtype.Float32, 1<<20), pool.New(dtype.Float32, 1<<20), pool.New(dtype.Float32, 1<<20)
	fill := func(t *tensor.Tensor, v float32) {
		writer.Upload(t, device.Float32Bytes(slices.Repeat([]float32{v}, t.Numel())))
	}
	fill(one, 1)
	fill(two, 2)
	got := make([]float32, x.Numel())
	for _, waits := range []bool{false, true} {
		writer.Copy(x, one)
		if err := writer.Sync(); err != nil {
			t.Fatal(err)
		}
		release := holdStream(t)(writer)
		writer.Copy(x, two)
		done := writer.Record()
		if waits {
			reader.Wait(done)
		} else {
			reader.Copy(y, x)
			if err := reader.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		release()
		if waits {
			reader.Copy(y, x)
		}
		reader.Download(device.Float32Bytes(got), y)
		if err := reader.Sync(); err != nil {
			t.Fatal(err)
		}
		want := float32(1)
		if waits {
			want = 2
		}
		if i := slices.IndexFunc(got, func(f float32) bool { return f != want }); i >= 0 {
			t.Errorf("waits: %v: element %d is %v, want %v", waits, i, got[i], want)
		}
		if err := writer.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHardwareFaultsAreTold: an address that nobody has ends the context, in a process of its own, and memory that ends is an error
// and no more.
func TestHardwareFaultsAreTold(t *testing.T) {
	if os.Getenv("OCTET_TEST_FAULT") != "" {
		d := hardware(t)
		s := d.newStream("compute")
		nowhere := tensor.New(&Buffer{address: 1 << 12, bytes: 4096}, dtype.Float32, 1024)
		s.Add(nowhere, nowhere, nowhere)
		fmt.Println("it says:", s.Sync())
		os.Exit(0) // closing says the same again
	}
	d := hardware(t)
	if _, err := d.Alloc(1 << 50); err == nil || !strings.Contains(err.Error(), "no memory for 1125899906842624 bytes: ") {
		t.Errorf("too much memory: %v", err)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestHardwareFaultsAreTold$")
	cmd.Env = append(os.Environ(), "OCTET_TEST_FAULT=1")
	out, err := cmd.CombinedOutput()
	if want := "CUDA_ERROR_ILLEGAL_ADDRESS (700)"; err != nil || !strings.Contains(string(out), want) || !strings.Contains(string(out), "the GPU's context is dead") {
		t.Errorf("%v, no %q in\n%s", err, want, out)
	}
	s := d.newStream("compute") // another process's death is nobody's here
	if err := s.Sync(); err != nil {
		t.Error(err)
	}
}

// size is a side of the matrices that are measured: 128 MiB of bf16, more than caches hold.
func size() int {
	if testing.Short() {
		return 256
	}
	return 8192
}

// speedometer is a device that is measured.
type speedometer struct {
	*testing.B
	d *Device
	s *Stream
}

// on measures f's part on a device that all parts share.
func (m *speedometer) on(name string, f func(m *speedometer)) {
	m.Run(name, func(b *testing.B) { f(&speedometer{b, m.d, m.s}) })
}

func openSpeedometer(b *testing.B) *speedometer {
	d := hardware(b)
	return &speedometer{b, d, d.newStream("compute")}
}

// new is a tensor that ends with the part.
func (m *speedometer) new(t dtype.Type, shape ...int) *tensor.Tensor {
	bytes := t.Size()
	for _, n := range shape {
		bytes *= n
	}
	mem, err := m.d.Alloc(bytes)
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { m.d.Free(mem) })
	x := tensor.New(mem, t, shape...)
	m.s.Upload(x, someBytes(x))
	return x
}

// measure times f, which enqueues, and what it has enqueued. The first time loads what there is to load.
func (m *speedometer) measure(f func()) {
	f()
	if err := m.s.Sync(); err != nil {
		m.Fatal(err)
	}
	m.ResetTimer()
	for range m.N {
		f()
	}
	if err := m.s.Sync(); err != nil {
		m.Fatal(err)
	}
	m.StopTimer()
}

// BenchmarkWork is the speed of the rows of works, in bytes that they must move; copy's is what the others are
// measured by. It reports each row's target beside, a share of copy's.
func BenchmarkWork(b *testing.B) {
	all := openSpeedometer(b)
	for _, w := range works() {
		all.on(w.name, func(m *speedometer) {
			n := size()
			run := w.make(&maker{rows: n, cols: n, new: m.new})
			m.SetBytes(int64((w.read + w.wrote) * float64(n) * float64(n)))
			m.measure(func() { run(m.s) })
			m.ReportMetric(w.target, "target")
		})
	}
}

// BenchmarkLaunch is what a launch takes of the host.
func BenchmarkLaunch(b *testing.B) {
	m := openSpeedometer(b)
	x := m.new(dtype.Float32, 256)
	m.measure(func() { m.s.Add(x, x, x) })
}

// BenchmarkMatMul is the products of linear layers, m tokens from k to n, as torch's are measured by
// test/gpucheck/peer.py: bf16, and float8 with a scale of the tensor and with one of each row.
func BenchmarkMatMul(b *testing.B) {
	all := openSpeedometer(b)
	for _, s := range [][3]int{{8192, 4096, 4096}, {8192, 14336, 4096}, {8192, 4096, 14336}, {8192, 8192, 8192}} {
		for _, kind := range []string{"bf16", "tensorwise", "rowwise"} {
			all.on(fmt.Sprintf("%s/%dx%dx%d", kind, s[0], s[1], s[2]), func(m *speedometer) { m.product(kind, s[0], s[1], s[2]) })
		}
	}
}

// BenchmarkAttention is causal attention of 8B's heads and their gradient, as torch's is measured by test/gpucheck/peer.py:
// half of the products with all keys, of which the gradient has five for the forward's two.
func BenchmarkAttention(b *testing.B) {
	all := openSpeedometer(b)
	for _, hd := range []int{64, 128} {
		for i, what := range []string{"forward", "gradient"} {
			all.on(fmt.Sprintf("%s/4096x32x8x%d", what, hd), func(m *speedometer) { m.attention(i == 1, hd) })
		}
	}
}

func (m *speedometer) attention(gradient bool, hd int) {
	batch, tokens, heads, groups, products := 2, 4096, 32, 8, 2.0
	if testing.Short() {
		batch, tokens, heads, groups = 1, 128, 4, 1
	}
	x := func(h int) *tensor.Tensor { return m.new(dtype.BFloat16, batch, tokens, h, hd) }
	q, o, key, v, lse := x(heads), x(heads), x(groups), x(groups), m.new(dtype.Float32, batch, heads, tokens)
	run := func() { m.s.Attention(o, lse, q, key, v, nil, nil, nil) }
	if gradient {
		run()
		do, dq, dk, dv := x(heads), x(heads), x(groups), x(groups)
		run = func() { m.s.AttentionGrad(dq, dk, dv, do, q, key, v, o, lse, nil, nil, nil) }
		products = 5
	}
	m.measure(run)
	flop := products * 2 * float64(batch*heads*hd) * float64(tokens) * float64(tokens) / 2
	m.ReportMetric(flop*float64(m.N)/m.Elapsed().Seconds()/1e9, "GFLOP/s")
}

func (m *speedometer) product(kind string, rows, cols, k int) {
	if testing.Short() {
		rows, cols, k = rows/64, cols/64, k/64
	}
	operand := func(n int) (o tensor.Operand) {
		switch kind {
		case "bf16":
			o.Tensor = m.new(dtype.BFloat16, n, k)
		case "tensorwise":
			o = tensor.Operand{Tensor: m.new(dtype.Float8E4M3, n, k), Scale: m.new(dtype.Float32), Inv: m.new(dtype.Float32)}
		case "rowwise":
			o = tensor.Operand{Tensor: m.new(dtype.Float8E4M3, n, k), Scale: m.new(dtype.Float32, n, 1), Inv: m.new(dtype.Float32, n, 1)}
		}
		return o
	}
	x, w, y := operand(rows), operand(cols), m.new(dtype.BFloat16, rows, cols)
	m.measure(func() { m.s.MatMul(y, x, w, device.MatMulOptions{TransB: true, FastAccum: true}) })
	flop := 2 * float64(rows) * float64(cols) * float64(k)
	m.ReportMetric(flop*float64(m.N)/m.Elapsed().Seconds()/1e9, "GFLOP/s")
}
