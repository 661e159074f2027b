// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package registry_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"octet/dtype"
	"octet/test/sim"
	"octet/test/sim/registry"
)

// open builds and opens the kernels of testdata.
func open(t *testing.T) *registry.Registry {
	t.Helper()
	l := sim.Kernels()
	l.Name = "libfaulty.so"
	l.Sources = []string{"test/sim/emu/*.cc", "test/sim/emu/*.h", "device/cuda/kernels/*.h", "test/sim/registry/testdata/*.cu"}
	r, err := registry.Open(sim.Path(t, l))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const n = 64

// launch is of a kernel of testdata, y and x float32 [n]; 1<<8 says that it may write.
func launch(name string, y, x *[n]float32, seed uint64) registry.Launch {
	word := func(p *[n]float32, bits uint64) registry.Argument {
		return registry.Argument{uint64(uintptr(unsafe.Pointer(p))), uint64(dtype.Float32) | bits | n<<16}
	}
	return registry.Launch{Kernel: name, Grid: 1, Block: n, Seed: seed, Arguments: []registry.Argument{word(y, 1<<8), word(x, 0)}}
}

func numbers() *[n]float32 {
	x := new([n]float32)
	for i := range x {
		x[i] = float32(i + 1)
	}
	return x
}

func TestALaunchRunsAndIsCounted(t *testing.T) {
	r := open(t)
	for seed := range uint64(32) {
		x, y := numbers(), new([n]float32)
		report, err := r.Run(launch("good", y, x, seed))
		if err != nil {
			t.Fatal(err)
		}
		if report.Read != 4*n || report.Written != 4*n || !slices.Equal(report.By, []registry.Moved{{Written: 4 * n}, {Read: 4 * n}}) {
			t.Errorf("%+v, want %d bytes read and written", report, 4*n)
		}
		for i, v := range y {
			sum := float32((64 + 33) * 16) // of the numbers 33 to 64, which the first warp has
			if i >= 32 {
				sum = (32 + 1) * 16
			}
			if v != float32(n-i)+sum {
				t.Fatalf("seed %d: y[%d] = %v, want %v", seed, i, v, float32(n-i)+sum)
			}
		}
	}
}

func TestFaultsAreFound(t *testing.T) {
	r := open(t)
	for _, c := range []struct{ kernel, want string }{
		{"reads_beyond", "reads_beyond, block 0, thread 63"},
		{"reads_beyond", "reads bytes 256 to 260 of its argument `src x`, which has 256"},
		{"writes_beyond", "writes bytes 256 to 260 of its argument `dst y`, which has 256"},
		{"writes_its_source", "writes to its argument `src x`, which it was given to read"},
		{"leaves_a_barrier", "63 threads wait at a barrier and 0 for their warp, which the others never reach (thread 0 at line "},
		{"leaves_its_warp", "0 threads wait at a barrier and 8 for their warp"},
		{"leaves_shared_memory", "shared memory of 32 elements has no element 32"},
		{"missing", `no kernel "missing"`},
	} {
		x, y := numbers(), new([n]float32)
		if _, err := r.Run(launch(c.kernel, y, x, 0)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", c.kernel, err, c.want)
		}
	}
	l := launch("good", new([n]float32), numbers(), 0)
	l.Block = 32
	if _, err := r.Run(l); err == nil || !strings.Contains(err.Error(), "blocks of 32 threads; it is made for 64") {
		t.Errorf("half a block: %v", err)
	}
}

// TestSharedMemoryIsPoisoned: what was not written yet is NaN, and orders of threads show
// what only one of them hides.
func TestSharedMemoryIsPoisoned(t *testing.T) {
	r := open(t)
	for seed := range uint64(8) {
		x, y := numbers(), new([n]float32)
		if _, err := r.Run(launch("forgets_a_barrier", y, x, seed)); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(y[:], func(v float32) bool { return math.IsNaN(float64(v)) }) {
			t.Errorf("seed %d: no thread has read what was not written", seed)
		}
	}
}

func TestRangesAreOfTheArguments(t *testing.T) {
	x, y := numbers(), new([n]float32)
	l := launch("good", y, x, 0)
	got, err := open(t).Ranges(l)
	want := []registry.Range{{Argument: "dst y", Address: l.Arguments[0][0], Bytes: 4 * n, Writes: true}, {Argument: "src x", Address: l.Arguments[1][0], Bytes: 4 * n}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v (%v), want %+v", got, err, want)
	}
}

func TestARaiseReadsAndWrites(t *testing.T) {
	x, y := numbers(), new([n]float32)
	report, err := open(t).Run(launch("raises", y, x, 3))
	if err != nil || y[0] != n || report.By[0].Read != 4*n || report.By[0].Written != 4*n {
		t.Errorf("%v (%v, %+v), want %d", y[0], err, report, n)
	}
}
