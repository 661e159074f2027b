// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package gemm

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"octet/device/cuda/api"
	"octet/dtype"
	"octet/test/sim"
	"octet/test/sim/control"
)

// gpu is a simulated GPU with cuBLASLt. The simulator reads its environment once a
// process, so a test of another capability runs in a process of its own (as).
type gpu struct {
	cuda   *api.CUDA
	lib    *Library
	stream uintptr
	told   []string
}

func open(t *testing.T) *gpu {
	t.Helper()
	for variable, l := range map[string]sim.Library{"OCTET_CUDA_LIB": sim.Driver(), "SIM_KERNELS": sim.Kernels(), "OCTET_CUBLASLT_LIB": sim.CublasLt()} {
		t.Setenv(variable, sim.Path(t, l))
	}
	control.Watch(t, os.Getenv("OCTET_CUDA_LIB"))
	g := &gpu{}
	var err error
	if g.cuda, err = api.OpenCUDA(api.System()); err != nil {
		t.Fatal(err)
	}
	ok(t, g.cuda.Init(0))
	var device, major, minor int32
	ok(t, g.cuda.DeviceGet(&device, 0))
	var context, stream uintptr
	ok(t, g.cuda.DevicePrimaryCtxRetain(&context, int(device)))
	ok(t, g.cuda.DeviceGetAttribute(&major, api.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, int(device)))
	ok(t, g.cuda.DeviceGetAttribute(&minor, api.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, int(device)))
	g.cuda = g.cuda.In(context)
	ok(t, g.cuda.StreamCreateWithPriority(&stream, api.CU_STREAM_NON_BLOCKING, 0))
	g.stream = stream
	lt, err := api.OpenCublasLt(api.System(), g.cuda)
	if err != nil {
		t.Fatal(err)
	}
	g.lib, err = Open(lt, g.cuda, Options{Context: context, Major: int(major), Minor: int(minor), Tell: func(text string) { g.told = append(g.told, text) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.lib.Close(); err != nil {
			t.Error(err)
		}
		ok(t, g.cuda.StreamDestroy(g.stream))
		ok(t, g.cuda.DevicePrimaryCtxRelease(int(device)))
	})
	return g
}

func ok(t *testing.T, r api.Result) {
	t.Helper()
	if r != api.CUDA_SUCCESS {
		t.Fatalf("error %d of the simulated driver", int(r))
	}
}

// as runs a test of this file again where the variables are set, and returns what it prints.
func as(t *testing.T, test string, variables ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), append(variables, "OCTET_TEST_CHILD=1")...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", variables, err, out)
	}
	return string(out)
}

// TestProbe asks GPUs of several capabilities what they take; on some a product goes wrong.
func TestProbe(t *testing.T) {
	if os.Getenv("OCTET_TEST_CHILD") != "" {
		m := open(t).lib.Modes()
		fmt.Printf("modes: %v; float8 is added: %v\n", m, m.Accumulate)
		return
	}
	for _, tt := range []struct{ variables, want string }{
		{"SIM_CC=80", "f32, bf16; float8 is added: true"},
		{"SIM_CC=89", "f32, bf16, fp8 tensorwise TN; float8 is added: true"},
		{"SIM_CC=90", "f32, bf16, fp8 tensorwise TN, rowwise TN; float8 is added: false"},
		{"SIM_CC=100", "f32, bf16, fp8 tensorwise TN NN NT TT; float8 is added: true"},
		{"SIM_CC=120", "f32, bf16, fp8 tensorwise TN; float8 is added: true"},
		{"SIM_CC=90 SIM_FAULT=matmul#4@0:nan", "f32, bf16, fp8 tensorwise TN; float8 is added: false"},
	} {
		out := as(t, "TestProbe", strings.Fields(tt.variables)...)
		if strings.Contains(out, "SKIP") {
			t.Skip(out)
		}
		if !strings.Contains(out, "modes: "+tt.want+"\n") {
			t.Errorf("%s: want %q in\n%s", tt.variables, tt.want, out)
		}
	}
}

// TestProducts compares each product with sums in float64.
func TestProducts(t *testing.T) {
	g := open(t)
	f32, bf16, e4m3, e5m2 := dtype.Float32, dtype.BFloat16, dtype.Float8E4M3, dtype.Float8E5M2
	for _, tt := range []struct {
		name     string
		a, b, d  dtype.Type
		m, n, k  int
		aK, bK   bool
		as, bs   Scales
		add      bool
		wantKind Kind
	}{
		{"forward", bf16, bf16, bf16, 5, 7, 3, true, true, None, None, false, Direct},
		{"grad_input", bf16, bf16, f32, 65, 33, 40, true, false, None, None, false, Direct},
		{"grad_weight, added", bf16, bf16, f32, 33, 66, 20, false, false, None, None, true, Direct},
		{"both contiguous along lanes of the left", f32, f32, f32, 17, 9, 12, false, true, None, None, false, Direct},
		{"float8 forward", e4m3, e4m3, bf16, 70, 80, 48, true, true, One, One, false, Direct},
		{"float8 gradient", e5m2, e4m3, f32, 32, 16, 96, true, true, One, One, false, Direct},
		{"float8 added", e5m2, e4m3, f32, 32, 16, 96, true, true, One, One, true, Direct},
		{"one scale missing", e4m3, e4m3, f32, 16, 16, 16, true, true, None, One, false, Direct},
		{"by rows", e4m3, e4m3, bf16, 70, 80, 48, true, true, Each, Each, false, Direct},
	} {
		test := func(t *testing.T, gap int) {
			p := Problem{M: tt.m, N: tt.n, K: tt.k, D: tt.d, DAlign: MaxAlign, Accumulate: tt.add, FastAccum: true,
				A: Side{tt.a, tt.aK, tt.k + gap, tt.as, MaxAlign}, B: Side{tt.b, tt.bK, tt.k + gap, tt.bs, MaxAlign}}
			if !tt.aK {
				p.A.LD = tt.m + gap
			}
			if !tt.bK {
				p.B.LD = tt.n + gap
			}
			how := g.lib.Choose(p)
			if how.Kind != tt.wantKind || how.Plan == nil {
				t.Fatalf("%v is made by %v", p, how.Route)
			}
			if how.Aside {
				p.Accumulate = false // the kernel that adds is not this package's
			}
			g.compare(t, how.Plan, p)
		}
		t.Run(tt.name, func(t *testing.T) { test(t, 0) })
		t.Run(tt.name+", apart", func(t *testing.T) { test(t, 32) })
	}
}

// compare runs a plan on numbers of its own.
func (g *gpu) compare(t *testing.T, plan *Plan, p Problem) {
	t.Helper()
	a, aMem := numbers(p.A, p.M, p.K, 1)
	b, bMem := numbers(p.B, p.N, p.K, 2)
	before, dMem := numbers(Side{Type: p.D, KContiguous: true}, p.M, p.N, 3)
	aInv, aInvMem := numbers(Side{Type: dtype.Float32, KContiguous: true}, p.M, 1, 4)
	bInv, bInvMem := numbers(Side{Type: dtype.Float32, KContiguous: true}, p.N, 1, 5)
	d := g.upload(t, dMem)
	args := Args{A: g.upload(t, aMem), B: g.upload(t, bMem), D: d, Workspace: g.upload(t, make([]byte, g.lib.Workspace()))}
	if p.A.Scales != None {
		args.AInv = g.upload(t, aInvMem)
	}
	if p.B.Scales != None {
		args.BInv = g.upload(t, bInvMem)
	}
	if err := plan.Run(g.stream, args); err != nil {
		t.Fatal(err)
	}
	got := decode(p.D, g.download(t, d, len(dMem)))
	for i := range p.M {
		for j := range p.N {
			sum, magnitude := 0.0, 0.0
			for k := range p.K {
				v := a[i*p.K+k] * b[j*p.K+k]
				sum, magnitude = sum+v, magnitude+math.Abs(v)
			}
			by := factor(p.A, aInv, i) * factor(p.B, bInv, j)
			sum, magnitude = sum*by, magnitude*math.Abs(by)
			if p.Accumulate {
				sum += before[i*p.N+j]
			}
			// Sums of K terms in float32, and a rounding to D.
			limit := magnitude*float64(p.K)*0x1p-24 + math.Abs(sum)*map[dtype.Type]float64{dtype.Float32: 0x1p-22, dtype.BFloat16: 0x1p-8}[p.D]
			if diff := math.Abs(got[i*p.N+j] - sum); !(diff <= limit+1e-30) {
				t.Fatalf("%v: element [%d,%d] is %g, want %g within %g", p, i, j, got[i*p.N+j], sum, limit)
			}
		}
	}
	for _, address := range []uint64{args.A, args.B, args.D, args.Workspace, args.AInv, args.BInv} {
		if address != 0 {
			ok(t, g.cuda.MemFree(address))
		}
	}
}

func factor(s Side, inverses []float64, lane int) float64 {
	switch s.Scales {
	case One:
		return inverses[0]
	case Each:
		return inverses[lane]
	}
	return 1
}

// numbers are values [lanes,k], and their memory.
func numbers(s Side, lanes, k int, seed uint32) (values []float64, memory []byte) {
	values = make([]float64, lanes*k)
	x := seed * 2654435761
	encoded := make([][]byte, len(values))
	for i := range values {
		x = x*1664525 + 1013904223
		encoded[i] = encode(s.Type, float32(int32(x)>>8)*0x1p-22)
		values[i] = decode(s.Type, encoded[i])[0]
	}
	inner := k
	if !s.KContiguous {
		inner = lanes
	}
	for outer := range lanes * k {
		at := outer
		if !s.KContiguous {
			at = outer%lanes*k + outer/lanes
		}
		memory = append(memory, encoded[at]...)
		if outer%inner == inner-1 { // up to the leading dimension, if there is one, something else
			for range s.LD - inner {
				memory = append(memory, encode(s.Type, 99)...)
			}
		}
	}
	return values, memory
}

func encode(of dtype.Type, v float32) []byte {
	switch of {
	case dtype.Float32:
		return binary.LittleEndian.AppendUint32(nil, math.Float32bits(v))
	case dtype.BFloat16:
		return binary.LittleEndian.AppendUint16(nil, uint16(dtype.ToBF16(v)))
	}
	return []byte{of.Format().Encode(v)}
}

func decode(of dtype.Type, memory []byte) (values []float64) {
	for i := 0; i < len(memory); i += of.Size() {
		switch of {
		case dtype.Float32:
			values = append(values, float64(math.Float32frombits(binary.LittleEndian.Uint32(memory[i:]))))
		case dtype.BFloat16:
			values = append(values, float64(dtype.BF16(binary.LittleEndian.Uint16(memory[i:])).Float32()))
		default:
			values = append(values, float64(of.Format().Decode(memory[i])))
		}
	}
	return values
}

func (g *gpu) upload(t *testing.T, data []byte) (address uint64) {
	t.Helper()
	ok(t, g.cuda.MemAlloc(&address, len(data)))
	g.copy(t, len(data), func(pinned []byte) { copy(pinned, data) }, func(pinned unsafe.Pointer) api.Result {
		return g.cuda.MemcpyHtoDAsync(address, pinned, len(data), g.stream)
	}, nil)
	return address
}

func (g *gpu) download(t *testing.T, address uint64, n int) []byte {
	t.Helper()
	data := make([]byte, n)
	g.copy(t, n, nil, func(pinned unsafe.Pointer) api.Result {
		return g.cuda.MemcpyDtoHAsync(pinned, address, n, g.stream)
	}, func(pinned []byte) { copy(data, pinned) })
	return data
}

// copy moves n bytes by pinned memory, and waits.
func (g *gpu) copy(t *testing.T, n int, before func([]byte), move func(unsafe.Pointer) api.Result, after func([]byte)) {
	t.Helper()
	var pinned unsafe.Pointer
	ok(t, g.cuda.MemHostAlloc(&pinned, n, 0))
	if before != nil {
		before(unsafe.Slice((*byte)(pinned), n))
	}
	ok(t, move(pinned))
	ok(t, g.cuda.StreamSynchronize(g.stream))
	if after != nil {
		after(unsafe.Slice((*byte)(pinned), n))
	}
	ok(t, g.cuda.MemFreeHost(pinned))
}

// TestWhatTheLibraryRefusesGoesAnotherWay plays a library without workspace enough.
func TestWhatTheLibraryRefusesGoesAnotherWay(t *testing.T) {
	g := open(t)
	g.lib.workspace = 0
	p := Problem{M: 16, N: 16, K: 16, D: dtype.BFloat16, DAlign: MaxAlign, A: Side{dtype.BFloat16, true, 16, None, MaxAlign}, B: Side{dtype.BFloat16, true, 16, None, MaxAlign}}
	if how := g.lib.Choose(p); how.Kind != Own || how.Plan != nil {
		t.Errorf("%v is made by %v", p, how.Route)
	}
	g.lib.Choose(p)
	want := []string{"matmul [16,16]·[16,16] bfloat16×bfloat16 → bfloat16: own kernel: cuBLASLt has no algorithm for it"}
	if len(g.told) != 1 || g.told[0] != want[0] {
		t.Errorf("told %q, want %q once", g.told, want)
	}
}

// TestARunAllocatesNothing is the hot path: one call into C.
func TestARunAllocatesNothing(t *testing.T) {
	g := open(t)
	p := Problem{M: 16, N: 16, K: 16, D: dtype.BFloat16, DAlign: MaxAlign, A: Side{dtype.Float8E4M3, true, 16, One, MaxAlign}, B: Side{dtype.Float8E4M3, true, 16, One, MaxAlign}}
	memory := g.upload(t, make([]byte, 4096))
	args := Args{A: memory, B: memory + 256, D: memory + 1024, AInv: memory + 2048, BInv: memory + 2052, Workspace: g.upload(t, make([]byte, g.lib.Workspace()))}
	if n := testing.AllocsPerRun(20, func() {
		if err := g.lib.Choose(p).Plan.Run(g.stream, args); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%g allocations a product", n)
	}
	ok(t, g.cuda.StreamSynchronize(g.stream))
	ok(t, g.cuda.MemFree(memory))
	ok(t, g.cuda.MemFree(args.Workspace))
}
