// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

func TestADeviceThatCannotBeOpenedSaysWhatWouldHelp(t *testing.T) {
	for _, tt := range []struct {
		name    string
		environ []string
		ordinal int
		want    string
	}{
		{"no driver", []string{"OCTET_CUDA_LIB", "/none/libcuda.so.1"}, 0,
			`cannot open libcuda.so.1 (tried: /none/libcuda.so.1: cannot open shared object file: No such file or directory): no NVIDIA driver on this machine; use "cpu", or set OCTET_CUDA_LIB`},
		{"no GPU", []string{"SIM_FAULT", "Init@0:error=100", "CUDA_VISIBLE_DEVICES", "7"}, 0,
			`the driver is present but sees no GPU; check CUDA_VISIBLE_DEVICES (now "7") and nvidia-smi`},
		{"another kernel module", []string{"SIM_FAULT", "Init@0:error=803"}, 0, "driver and kernel module differ (803)"},
		{"a package for other GPUs", []string{"SIM_FAULT", "Init@0:error=804"}, 0, "forward-compatibility package not supported on this GPU (804)"},
		{"NVSwitch", []string{"SIM_FAULT", "Init@0:error=802"}, 0, "the fabric manager has not finished (NVSwitch system); wait or start nvidia-fabricmanager"},
		{"anything else", []string{"SIM_FAULT", "Init@0:initfail"}, 0, "cuInit: CUDA_ERROR_UNKNOWN (999): unknown error"},
		{"an old driver", []string{"SIM_DRIVER", "12040"}, 0, "driver supports CUDA 12.4, octet needs 13.0: driver 580 or newer"},
		{"an old GPU", []string{"SIM_CC", "75"}, 0, "no kernel image for compute capability 7.5; octet supports 8.0 and newer"},
		{"no image", []string{"SIM_FAULT", "ModuleLoadDataEx@0:error=209"}, 0, "no kernel image for compute capability 9.0; octet supports 8.0 and newer"},
		{"new PTX", []string{"SIM_FAULT", "ModuleLoadDataEx@0:error=222"}, 0, "the embedded PTX is newer than this driver understands; update the driver to ≥ 580"},
		{"fewer GPUs", []string{"CUDA_VISIBLE_DEVICES", ""}, 8, `rank 8 wants GPU 8, this host shows 8; use --nproc-per-node 8, or check CUDA_VISIBLE_DEVICES (now "")`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			simulate(t, tt.environ...)
			d, err := Open(Options{Ordinal: tt.ordinal})
			if err == nil {
				d.Close()
			}
			if err == nil || err.Error() != tt.want {
				t.Errorf("error %v\nwant  %s", err, tt.want)
			}
		})
	}
}

func TestADeviceSaysWhatItIs(t *testing.T) {
	simulate(t)
	d := openSimulated(t, Options{Ordinal: 2})
	if want := "cuda:2 (simulated GPU, compute capability 9.0)"; d.Name() != want {
		t.Errorf("name %q, want %q", d.Name(), want)
	}
	if want := "products run on octet's own kernel, which is slower: cannot open libcublasLt.so.13 "; !strings.HasPrefix(d.Warning(), want) || d.Products() != "none" {
		t.Errorf("warning %q, products %q", d.Warning(), d.Products())
	}
	if i := d.Info(); i.PCI != "0000:03:00.0" || i.Capability != 90 || i.Memory != 4<<30 || i.Processors != 4 || i.SharedMemory != 227<<10 {
		t.Errorf("info %+v", i)
	}
}

func TestMemoryThatEndsIsAnErrorAndNoMore(t *testing.T) {
	simulate(t, "SIM_MEMORY", "1000000")
	d := openSimulated(t, Options{})
	b, err := d.Alloc(900_000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Alloc(900_000); err == nil || err.Error() != d.Name()+": no memory for 900000 bytes: 100000 of 1000000 are free" {
		t.Errorf("too much: %v", err)
	}
	func() {
		defer func() {
			if e, _ := recover().(*device.OutOfMemory); e == nil || !strings.Contains(e.Error(), "983040 bytes for float32[240000], 983040 in use: cuda:0") {
				t.Errorf("a pool panics with %v", e)
			}
		}()
		device.NewPool(d).New(dtype.Float32, 240_000)
	}()
	d.Free(b)
	d.Free(b) // is nobody's
	if free, total := d.Memory(); free != 1_000_000 || total != 1_000_000 {
		t.Errorf("%d of %d are free", free, total)
	}
	s := d.newStream("compute") // the device lives
	if err := s.Sync(); err != nil {
		t.Error(err)
	}
}

// rig is a stream and tensors on a simulated GPU.
type rig struct {
	*Stream
	t    *testing.T
	pool *device.Pool
}

func newRig(t *testing.T, name string) *rig {
	t.Helper()
	d := openSimulated(t, Options{})
	return &rig{d.newStream(name), t, device.NewPool(d)}
}

func (r *rig) upload(v ...float32) *tensor.Tensor {
	x := r.pool.New(dtype.Float32, len(v))
	r.Upload(x, device.Float32Bytes(v))
	return x
}

// TestADeadContextNamesWhatKilledIt: once, and whatever comes later comes after it.
func TestADeadContextNamesWhatKilledIt(t *testing.T) {
	for _, tt := range []struct{ name, sync, first string }{
		{"late", "", "cuda: cuStreamSynchronize compute: CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal memory access was encountered; the GPU's context is dead; " +
			"the kernel's log (dmesg, Xid) and compute-sanitizer may say more, and OCTET_CUDA_SYNC=1 which call it was"},
		{"at once", "1", "cuda: cuLaunchKernelEx add (grid 1×1×1) on stream compute: CUDA_ERROR_ILLEGAL_ADDRESS (700)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			simulate(t, "SIM_FAULT", "add@0:illegal", "OCTET_CUDA_SYNC", tt.sync)
			d, err := Open(Options{})
			if err != nil {
				t.Fatal(err)
			}
			r := &rig{d.newStream("compute"), t, device.NewPool(d)}
			x := r.upload(1, 2, 3)
			r.Add(x, x, x)
			r.Copy(x, x)
			if err := r.Sync(); err == nil || !strings.HasPrefix(err.Error(), tt.first) || strings.Contains(err.Error(), "(after ") {
				t.Errorf("the first: %v\nwant %s", err, tt.first)
			}
			r.Add(x, x, x)
			if err := r.Sync(); err == nil || !strings.Contains(err.Error(), "cuLaunchKernelEx add (grid 1×1×1) on stream compute: CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal memory access was encountered (after cuda: ") {
				t.Errorf("a later one: %v", err)
			}
			if _, err := d.Alloc(4); err == nil || !strings.Contains(err.Error(), "(after cuda: ") {
				t.Errorf("memory of a dead context: %v", err)
			}
			if err := d.Close(); err == nil || !strings.Contains(err.Error(), "(after cuda: ") {
				t.Errorf("closing: %v", err)
			}
		})
	}
}

func TestAnErrorThatIsNotStickyIsOneOfItsStream(t *testing.T) {
	simulate(t, "SIM_FAULT", "add@0:error=701")
	r := newRig(t, "compute")
	x := r.upload(1)
	other := r.dev.newStream("other")
	r.Add(x, x, x)
	if err := r.Sync(); err == nil || err.Error() != "cuda: cuLaunchKernelEx add (grid 1×1×1) on stream compute: error 701" {
		t.Errorf("error %v", err)
	}
	r.Add(x, x, x)
	if err := r.Sync(); err != nil {
		t.Error(err)
	}
	if err := other.Sync(); err != nil {
		t.Errorf("of another stream: %v", err)
	}
}

// TestHostMemoryOfAnySizeIsCopied: of more than all pinned memory, too, and in pieces that
// share a slot.
func TestHostMemoryOfAnySizeIsCopied(t *testing.T) {
	simulate(t)
	r := newRig(t, "compute")
	for _, n := range []int{0, 1, 3, 1 << 20, slotBytes - 64, slotBytes + 5, 5*slotBytes + 11} {
		src, dst := make([]byte, n), make([]byte, n)
		for i := range src {
			src[i] = byte(i*7>>3 ^ i>>20) // no two slots are alike
		}
		x := r.pool.New(dtype.Uint8, n)
		r.Upload(x, src)
		r.Download(dst, x)
		if err := r.Sync(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(src, dst) {
			t.Errorf("%d bytes come back otherwise", n)
		}
		r.pool.Free(x)
	}
}

// TestDownloadsArriveWithTheirEvent: those before it, on its stream and on those that it waited
// for, and no others.
func TestDownloadsArriveWithTheirEvent(t *testing.T) {
	simulate(t)
	r := newRig(t, "compute")
	other := r.dev.newStream("other")
	x, y := r.upload(1), r.upload(2)
	var first, second, far [1]float32
	r.Download(device.Float32Bytes(first[:]), x)
	e := r.Record()
	r.Download(device.Float32Bytes(second[:]), y)
	other.Wait(r.Record())
	other.Download(device.Float32Bytes(far[:]), y)
	last := other.Record()
	if err := e.Sync(); err != nil {
		t.Fatal(err)
	}
	if first[0] != 1 || second[0] != 0 {
		t.Errorf("the event has %v and what is behind it %v", first, second)
	}
	if err := last.Sync(); err != nil {
		t.Fatal(err)
	}
	if second[0] != 2 || far[0] != 2 {
		t.Errorf("an event behind has %v, of another stream %v", second, far)
	}
}

func TestALaunchAllocatesNothing(t *testing.T) {
	simulate(t)
	r := newRig(t, "compute")
	x := r.upload(1, 2, 3)
	if n := testing.AllocsPerRun(100, func() { r.Add(x, x, x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if err := r.Sync(); err != nil {
		t.Fatal(err)
	}
}

// TestEventsAreTakenAgain: when Go holds them no more, and not before.
func TestEventsAreTakenAgain(t *testing.T) {
	simulate(t)
	r := newRig(t, "compute")
	var held []device.Event
	for range 100 {
		held = append(held, r.Record())
	}
	for range 10 {
		for range 100 {
			r.Record()
		}
		runtime.GC()
	}
	if n := len(r.dev.events.all); n < 100 || n >= 1100 {
		t.Errorf("1100 events, of which 100 are held, are %d of the driver", n)
	}
	seen := map[uintptr]bool{}
	for _, e := range held {
		seen[e.(*event).handle] = true
	}
	if len(seen) != 100 {
		t.Errorf("of 100 events that are held, %d are different", len(seen))
	}
}

// TestAMissingWaitBetweenKernelsIsFound: what they touch is known by their arguments.
func TestAMissingWaitBetweenKernelsIsFound(t *testing.T) {
	c := simulate(t)
	r := newRig(t, "compute")
	other := r.dev.newStream("other")
	c.Name(r.handle, "compute")
	c.Name(other.handle, "other")
	x, y := r.upload(1, 2, 3), r.pool.New(dtype.Float32, 3)
	other.Wait(r.Record())
	other.Add(y, x, x)
	r.Wait(other.Record())
	r.Add(x, x, x)
	other.Copy(y, x)
	for _, s := range []*Stream{r.Stream, other} {
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	found := strings.Join(c.Findings(), "\n")
	if !strings.Contains(found, "add on compute#") || !strings.Contains(found, "move on other#") || !strings.Contains(found, "are unordered: no Wait between them") {
		t.Errorf("found %q", found)
	}
	c.Reset()
}

func TestATraceHasEveryCall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	simulate(t, "OCTET_CUDA_TRACE", path)
	d, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{d.newStream("compute"), t, device.NewPool(d)}
	d.newStream("all-gather")
	x := r.upload(1, 2)
	r.Add(x, x, x)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cuDevicePrimaryCtxRetain 0 [0]", "cuStreamCreateWithPriority 0 [1 0]", "cuStreamCreateWithPriority 0 [1 -5]",
		"cuMemAlloc_v2 0 [4096]", "cuLaunchKernelEx add 0 [1 256 0 compute]", "cuDevicePrimaryCtxRelease_v2 0 [0]"} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("no line %q in\n%s", want, text)
		}
	}
	simulate(t, "OCTET_CUDA_TRACE", filepath.Join(path, "none"))
	if _, err := Open(Options{}); err == nil || !strings.HasPrefix(err.Error(), "OCTET_CUDA_TRACE: ") {
		t.Errorf("a file that cannot be: %v", err)
	}
}

// TestAFaultGoesWithTheStreamsThatWaited: whichever is asked first, each says it once.
func TestAFaultGoesWithTheStreamsThatWaited(t *testing.T) {
	for _, first := range []string{"its own", "one that waited"} {
		t.Run(first, func(t *testing.T) {
			simulate(t)
			r := newRig(t, "compute")
			other, apart := r.dev.newStream("other"), r.dev.newStream("apart")
			ids := r.pool.New(dtype.Int32, 1)
			r.Upload(ids, binary.LittleEndian.AppendUint32(nil, 9))
			table, y := r.pool.New(dtype.Float32, 2, 4), r.pool.New(dtype.Float32, 1, 4)
			r.Zero(table)
			r.Embedding(y, table, ids, 0, 2)
			other.Wait(r.Record())
			order := []*Stream{r.Stream, other}
			if first != "its own" {
				order = []*Stream{other, r.Stream}
			}
			for _, s := range order {
				if err := s.Sync(); err == nil || err.Error() != "embedding: id 9 at position 0 is outside the vocabulary of 2" {
					t.Errorf("%s says %v", s.name, err)
				}
			}
			for _, s := range []*Stream{r.Stream, other, apart} {
				if err := s.Sync(); err != nil {
					t.Errorf("and then %s: %v", s.name, err)
				}
			}
			got := make([]byte, y.Bytes())
			r.Download(got, y)
			if err := r.Sync(); err != nil {
				t.Fatal(err)
			}
			if bits := binary.LittleEndian.Uint32(got); bits&0x7F800000 != 0x7F800000 {
				t.Errorf("what has no id is %#x, want NaN", bits)
			}
		})
	}
}

// TestTwoDevicesOfOneGPUEndApart: each with its own kernels, as ranks that share a GPU have them. What is enqueued
// on one is not in the way of the other's end, which leaves neither memory nor streams; kernels that go before their launches are found.
func TestTwoDevicesOfOneGPUEndApart(t *testing.T) {
	c := simulate(t)
	r := newRig(t, "compute")
	x := r.upload(1, 2)
	streams, live := c.Count("streams"), c.Count("live")
	other, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	other.NewStream("other")
	if _, err := other.Alloc(64); err != nil {
		t.Fatal(err)
	}
	if c.Count("streams") == streams || c.Count("live") == live {
		t.Error("a device has neither streams nor memory")
	}
	r.Add(x, x, x)
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	if n, bytes := c.Count("streams"), c.Count("live"); n != streams || bytes != live {
		t.Errorf("%d streams and %d bytes are left, want %d and %d", n, bytes, streams, live)
	}
	if found := c.Findings(); len(found) > 0 {
		t.Errorf("found %q", found)
	}
	got := make([]float32, 2)
	r.Download(device.Float32Bytes(got), x)
	if err := r.Sync(); err != nil || got[0] != 2 || got[1] != 4 {
		t.Errorf("%v, %v", got, err)
	}
	r.Add(x, x, x)
	for _, m := range r.dev.modules {
		r.dev.cuda.ModuleUnload(m)
	}
	r.dev.modules = nil
	if found := c.Findings(); len(found) != 1 || !strings.HasSuffix(found[0], "has launches of it") {
		t.Errorf("found %q", found)
	}
	c.Reset()
}
