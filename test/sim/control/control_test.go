// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package control_test

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"octet/device/cuda/api"
	"octet/test/sim"
	"octet/test/sim/control"
)

// machine is the simulated driver with a device in use.
type machine struct {
	*api.CUDA
	*control.Driver
	t       *testing.T
	ordinal int
}

// start opens device 0 with an environment of the simulator; the test's end closes it, and fails
// on what was found wrong and not asked for.
func start(t *testing.T, environ ...string) *machine {
	t.Helper()
	path := sim.Path(t, sim.Driver())
	for i := 0; i < len(environ); i += 2 {
		t.Setenv(environ[i], environ[i+1])
	}
	t.Setenv("OCTET_CUDA_LIB", path)
	cuda, err := api.OpenCUDA(api.System())
	if err != nil {
		t.Fatal(err)
	}
	driver, err := control.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	driver.Reset()
	if r := cuda.Init(0); r != api.CUDA_SUCCESS {
		t.Fatalf("cuInit: %d", r)
	}
	m := &machine{cuda, driver, t, 0}
	m.CUDA = m.open(0).CUDA
	t.Cleanup(func() {
		for _, f := range driver.Findings() {
			t.Errorf("found: %s", f)
		}
	})
	return m
}

// open is another device of the machine.
func (m *machine) open(ordinal int) *machine {
	m.t.Helper()
	var c uintptr
	m.ok(m.DevicePrimaryCtxRetain(&c, ordinal))
	m.t.Cleanup(func() { m.DevicePrimaryCtxRelease(ordinal) })
	return &machine{m.CUDA.In(c), m.Driver, m.t, ordinal}
}

func (m *machine) ok(r api.Result) {
	m.t.Helper()
	if r != api.CUDA_SUCCESS {
		m.t.Fatalf("result %d", r)
	}
}

// found expects findings that contain these texts, in their order, and no others.
func (m *machine) found(want ...string) {
	m.t.Helper()
	got := m.Findings()
	if !slices.EqualFunc(got, want, strings.Contains) {
		m.t.Errorf("findings %q, want %q", got, want)
	}
	m.Reset()
}

func (m *machine) stream(name string) uintptr {
	m.t.Helper()
	var s uintptr
	m.ok(m.StreamCreateWithPriority(&s, api.CU_STREAM_NON_BLOCKING, 0))
	m.Name(s, name)
	return s
}

func (m *machine) alloc(bytes int) (address uint64) {
	m.t.Helper()
	m.ok(m.MemAlloc(&address, bytes))
	return address
}

// pinned is memory of the host that devices copy from and to.
func (m *machine) pinned(bytes int) []byte {
	m.t.Helper()
	var p unsafe.Pointer
	m.ok(m.MemHostAlloc(&p, bytes, 0))
	m.t.Cleanup(func() { m.CtxSynchronize(); m.MemFreeHost(p) })
	return unsafe.Slice((*byte)(p), bytes)
}

func (m *machine) set(address uint64, value uint32, n int, s uintptr) {
	m.t.Helper()
	m.ok(m.MemsetD32Async(address, value, n, s))
}

// wait has stream b wait for what is on stream a.
func (m *machine) wait(b, a uintptr) {
	m.t.Helper()
	var e uintptr
	m.ok(m.EventCreate(&e, api.CU_EVENT_DISABLE_TIMING))
	m.ok(m.EventRecord(e, a))
	m.ok(m.StreamWaitEvent(b, e, 0))
	m.ok(m.EventDestroy(e))
}

// read is the first word of memory, by stream s, which is waited for.
func (m *machine) read(address uint64, s uintptr) uint32 {
	m.t.Helper()
	p := m.pinned(4)
	m.ok(m.MemcpyDtoHAsync(unsafe.Pointer(&p[0]), address, 4, s))
	m.ok(m.StreamSynchronize(s))
	return binary.LittleEndian.Uint32(p)
}

var modes = []string{"late", "lazy", "random", "eager"}

func TestTheDriverExportsTheTable(t *testing.T) {
	f, err := elf.Open(sim.Path(t, sim.Driver()))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, s := range symbols {
		if s.Section != elf.SHN_UNDEF && elf.ST_BIND(s.Info) == elf.STB_GLOBAL && !strings.HasPrefix(s.Name, "sim_") {
			got = append(got, s.Name)
		}
	}
	for _, f := range api.Functions("cuda") {
		want = append(want, f.Name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("exports %q, want %q", got, want)
	}
}

func TestAStreamRunsInOrder(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			m := start(t, "SIM_MODE", mode)
			s, a, b := m.stream("s"), m.alloc(64), m.alloc(64)
			for i := range 50 {
				m.set(a, uint32(i), 16, s)
			}
			m.ok(m.MemcpyDtoDAsync(b, a, 64, s))
			m.set(a, 99, 16, s)
			if got := m.read(b, s); got != 49 {
				t.Errorf("the copy has %d, want 49", got)
			}
		})
	}
}

func TestFreshMemoryIsPoisoned(t *testing.T) {
	m := start(t)
	if got := m.read(m.alloc(100), m.stream("s")); got != 0xFFFFFFFF {
		t.Errorf("fresh memory has %#x", got)
	}
}

func TestNothingRunsBeforeTheHostWaits(t *testing.T) {
	for _, mode := range []string{"late", "lazy"} {
		t.Run(mode, func(t *testing.T) {
			m := start(t, "SIM_MODE", mode)
			s, p := m.stream("s"), m.pinned(4)
			a := m.alloc(4)
			m.set(a, 7, 1, s)
			m.ok(m.MemcpyDtoHAsync(unsafe.Pointer(&p[0]), a, 4, s))
			for range 1000 {
				m.alloc(4) // time in which it could have run
			}
			if got := binary.LittleEndian.Uint32(p); got != 0 {
				t.Errorf("the host has %d before it waited", got)
			}
			m.ok(m.CtxSynchronize())
			if got := binary.LittleEndian.Uint32(p); got != 7 {
				t.Errorf("the host has %d, want 7", got)
			}
		})
	}
}

// TestAMissingWaitIsARace: in every mode and order, whatever the data came to.
func TestAMissingWaitIsARace(t *testing.T) {
	for _, mode := range modes {
		for seed := range 4 {
			t.Run(fmt.Sprint(mode, seed), func(t *testing.T) {
				m := start(t, "SIM_MODE", mode, "SIM_SEED", fmt.Sprint(seed))
				one, two, a, b := m.stream("one"), m.stream("two"), m.alloc(64), m.alloc(64)
				run := func(wait bool) uint32 {
					m.set(a, 1, 16, one)
					if wait {
						m.wait(two, one)
					}
					m.ok(m.MemcpyDtoDAsync(b, a, 64, two))
					got := m.read(b, two)
					m.ok(m.CtxSynchronize())
					return got
				}
				if got := run(true); got != 1 {
					t.Errorf("with a wait the copy has %d", got)
				}
				m.found()
				run(false)
				if got := m.Findings(); len(got) != 1 || !strings.Contains(got[0], "set on one#") || !strings.Contains(got[0], "copy on two#") ||
					!strings.Contains(got[0], "are unordered: no Wait between them") {
					t.Errorf("findings %q", got)
				}
				m.Reset()
			})
		}
	}
}

// TestLateShowsAMissingWaitInTheData: of what nobody waits for, nothing has run.
func TestLateShowsAMissingWaitInTheData(t *testing.T) {
	m := start(t, "SIM_MODE", "late")
	one, two, a := m.stream("one"), m.stream("two"), m.alloc(64)
	m.set(a, 1, 16, one)
	if got := m.read(a, two); got != 0xFFFFFFFF {
		t.Errorf("without a wait %#x was read", got)
	}
	m.ok(m.CtxSynchronize())
	m.found("read download on two#1 and write set on one#1 are unordered")
}

func TestPartsOfMemoryRaceOnlyWhereTheyMeet(t *testing.T) {
	m := start(t)
	one, two, a := m.stream("one"), m.stream("two"), m.alloc(256)
	m.set(a, 1, 16, one)
	m.set(a+64, 2, 16, two)
	m.ok(m.CtxSynchronize())
	m.found()
	m.set(a, 1, 17, one)
	m.set(a+64, 2, 16, two)
	m.ok(m.CtxSynchronize())
	m.found("are unordered")
}

// TestOrderGoesThroughOthers: an event of a stream that waited for another, a word, the host.
func TestOrderGoesThroughOthers(t *testing.T) {
	for name, join := range map[string]func(m *machine, one, two, three uintptr){
		"events": func(m *machine, one, two, three uintptr) { m.wait(three, one); m.wait(two, three) },
		"a word": func(m *machine, one, two, three uintptr) {
			word := m.alloc(4)
			m.set(word, 0, 1, three)
			m.ok(m.StreamSynchronize(three))
			m.ok(m.StreamWriteValue32(one, word, 5, 0))
			m.ok(m.StreamWaitValue32(two, word, 5, 0))
		},
		"the host": func(m *machine, one, two, three uintptr) { m.ok(m.StreamSynchronize(one)) },
	} {
		for _, mode := range modes {
			t.Run(name+" "+mode, func(t *testing.T) {
				m := start(t, "SIM_MODE", mode)
				one, two, three, a := m.stream("one"), m.stream("two"), m.stream("three"), m.alloc(64)
				m.set(a, 3, 16, one)
				join(m, one, two, three)
				if got := m.read(a, two); got != 3 {
					t.Errorf("read %d", got)
				}
				m.ok(m.CtxSynchronize())
			})
		}
	}
}

func TestAnEventThatNobodyRecordedHoldsNothing(t *testing.T) {
	m := start(t)
	var e uintptr
	m.ok(m.EventCreate(&e, 0))
	m.ok(m.StreamWaitEvent(m.stream("s"), e, 0))
	m.ok(m.EventSynchronize(e))
	m.ok(m.EventDestroy(e))
}

func TestWhatTouchesFreedMemoryFails(t *testing.T) {
	m := start(t)
	s, a := m.stream("s"), m.alloc(64)
	m.set(a, 1, 16, s)
	m.ok(m.MemFree(a))
	if r := m.StreamSynchronize(s); r != api.CUDA_ERROR_ILLEGAL_ADDRESS {
		t.Errorf("result %d", r)
	}
	if r := m.StreamSynchronize(s); r != api.CUDA_ERROR_ILLEGAL_ADDRESS {
		t.Errorf("and again: %d", r)
	}
	m.found("set on s touches 64 bytes that nobody has")
}

func TestMemoryThatWasUsedAndNotWaitedForIsNotFreed(t *testing.T) {
	m := start(t, "SIM_MODE", "eager")
	s, other, a, p := m.stream("s"), m.stream("other"), m.alloc(64), m.pinned(64)
	m.set(a, 1, 16, s)
	m.wait(other, s)
	m.set(a, 2, 16, other)
	for m.StreamQuery(other) != api.CUDA_SUCCESS {
		time.Sleep(time.Millisecond)
	}
	m.ok(m.MemFree(a))
	m.found()
	b := m.alloc(64)
	m.set(b, 1, 16, s)
	m.wait(other, s)
	m.set(m.alloc(4), 0, 1, other)
	m.ok(m.StreamSynchronize(other)) // knows of s too
	m.ok(m.MemFree(b))
	m.found()
	c := m.alloc(64)
	m.set(c, 1, 16, s)
	m.ok(m.MemcpyDtoHAsync(unsafe.Pointer(&p[0]), c, 64, s))
	for word := (*uint32)(unsafe.Pointer(&p[60])); atomic.LoadUint32(word) != 1; { // it is over, and only data say so
		time.Sleep(time.Millisecond)
	}
	m.ok(m.MemFree(c))
	m.found("64 bytes are freed while")
}

func TestWritesBesideMemoryAreFound(t *testing.T) {
	m := start(t)
	a := m.alloc(10)
	*(*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&a))) = 1
	m.ok(m.CtxSynchronize())
	m.found()
	behind := a + 10
	*(*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&behind))) = 1
	m.ok(m.CtxSynchronize())
	m.found("something wrote beside an allocation of 10 bytes")
}

func TestPageableMemoryHoldsTheHostUp(t *testing.T) {
	m := start(t)
	s, a, mem := m.stream("s"), m.alloc(8), make([]byte, 8)
	m.ok(m.MemcpyHtoDAsync(a, unsafe.Pointer(&mem[0]), 8, s))
	m.found("MemcpyHtoDAsync: host memory that is not pinned")
	m.ok(m.MemcpyDtoHAsync(unsafe.Pointer(&mem[0]), a, 8, s))
	m.found("MemcpyDtoHAsync: host memory that is not pinned")
}

func TestDevicesRunBesideOneAnother(t *testing.T) {
	m := start(t, "SIM_DEVICES", "8")
	other := m.open(1)
	s, far := m.stream("near"), other.stream("far")
	word, a := m.alloc(4), other.alloc(4)
	m.set(word, 0, 1, s)
	m.ok(m.StreamSynchronize(s))
	m.ok(m.StreamWaitValue32(s, word, 1, 0)) // the host waits for near, which waits for far
	other.set(a, 9, 1, far)
	other.ok(other.StreamWriteValue32(far, word, 1, 0))
	if got := m.read(a, s); got != 9 {
		t.Errorf("read %d of the other device", got)
	}
	other.ok(other.StreamSynchronize(far))
	var ordinal int32
	m.ok(m.PointerGetAttribute(unsafe.Pointer(&ordinal), api.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, a))
	if ordinal != 1 {
		t.Errorf("its address is device %d's", ordinal)
	}
}

func TestFaultsComeWhenTheyAreAskedFor(t *testing.T) {
	for _, tt := range []struct {
		fault string
		want  [3]int // results of the second allocation, of a set, of Synchronize
	}{
		{"", [3]int{}},
		{"MemAlloc#2@0:oom", [3]int{2, 0, 0}},
		{"MemAlloc#2@1:oom", [3]int{}},
		{"MemsetD32Async@0:illegal", [3]int{0, 0, 700}},
		{"MemsetD32Async@0:ecc,MemAlloc#2@0:oom", [3]int{2, 0, 214}},
		{"MemsetD32Async@0:error=1", [3]int{0, 1, 0}},
		{"MemsetD32Async@0:wrongdev", [3]int{0, 0, 700}},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			m := start(t, "SIM_FAULT", tt.fault)
			s, a := m.stream("s"), m.alloc(4)
			var b uint64
			got := [3]int{int(m.MemAlloc(&b, 4))}
			got[1] = int(m.MemsetD32Async(a, 1, 1, s))
			got[2] = int(m.StreamSynchronize(s))
			if got != tt.want {
				t.Errorf("results %d, want %d", got, tt.want)
			}
		})
	}
	t.Run("nan", func(t *testing.T) {
		m := start(t, "SIM_FAULT", "MemsetD32Async#2@0:nan")
		s, a := m.stream("s"), m.alloc(64)
		m.set(a, 1, 16, s)
		m.set(a, 2, 16, s)
		if got := m.read(a, s); got != 0xFFFFFFFF {
			t.Errorf("a spoiled value is %#x", got)
		}
	})
	t.Run("wrong", func(t *testing.T) {
		m := start(t, "SIM_FAULT", "MemAlloc:oom,MemAlloc@0:flood")
		m.alloc(4)
		m.found(`"MemAlloc:oom" is no OP[#N]@DEVICE:KIND`, `no fault "flood"`)
	})
}

func TestMemoryEnds(t *testing.T) {
	m := start(t, "SIM_MEMORY", "1000")
	a := m.alloc(600)
	var b uint64
	if r := m.MemAlloc(&b, 600); r != api.CUDA_ERROR_OUT_OF_MEMORY {
		t.Errorf("result %d", r)
	}
	m.ok(m.MemFree(a))
	m.alloc(600)
	if got := m.Count("peak"); got != 600 {
		t.Errorf("at most %d bytes", got)
	}
}

func TestCallsAreHeldToTheirRules(t *testing.T) {
	m := start(t)
	s, a := m.stream("s"), m.alloc(64)
	for name, c := range map[string]struct{ got, want api.Result }{
		"no context":            {bare(t), api.CUDA_ERROR_INVALID_CONTEXT},
		"beyond the memory":     {m.MemsetD32Async(a, 0, 17, s), api.CUDA_ERROR_INVALID_VALUE},
		"not aligned":           {m.MemsetD32Async(a+2, 0, 1, s), api.CUDA_ERROR_INVALID_VALUE},
		"no stream":             {m.MemsetD32Async(a, 0, 1, 42), api.CUDA_ERROR_INVALID_HANDLE},
		"freed twice":           {m.MemFree(a + 1), api.CUDA_ERROR_INVALID_VALUE},
		"no such device":        {m.DevicePrimaryCtxRetain(new(uintptr), 99), api.CUDA_ERROR_INVALID_DEVICE},
		"a word not aligned":    {m.StreamWriteValue32(s, a+1, 0, 0), api.CUDA_ERROR_INVALID_VALUE},
		"no image":              {m.ModuleLoadDataEx(new(uintptr), unsafe.Pointer(&[64]byte{1}), 0, nil, nil), api.CUDA_ERROR_INVALID_IMAGE},
		"no bytes":              {m.MemAlloc(new(uint64), 0), api.CUDA_ERROR_INVALID_VALUE},
		"events out of nowhere": {m.EventElapsedTime(new(float32), event(m), event(m)), api.CUDA_ERROR_INVALID_HANDLE},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", name, c.got, c.want)
		}
	}
	m.found("an address is freed that no memory begins at")
}

// bare is a call on a thread that has no context.
func bare(t *testing.T) api.Result {
	t.Helper()
	l, err := api.OpenCUDA(api.System())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan api.Result)
	go func() {
		runtime.LockOSThread() // which ends with the goroutine
		l.CtxSetCurrent(0)
		done <- l.MemFree(1)
	}()
	return <-done
}

func event(m *machine) (e uintptr) {
	m.ok(m.EventCreate(&e, 0))
	return e
}
