// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package control_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"octet/device/cuda/api"
)

// captured is the graph of what f enqueues on s, ready to be launched.
func (m *machine) captured(s uintptr, f func()) (exec uintptr) {
	m.t.Helper()
	var graph uintptr
	m.ok(m.StreamBeginCapture(s, api.CU_STREAM_CAPTURE_MODE_RELAXED))
	f()
	m.ok(m.StreamEndCapture(s, &graph))
	m.ok(m.GraphInstantiateWithFlags(&exec, graph, 0))
	m.ok(m.GraphDestroy(graph))
	m.t.Cleanup(func() { m.CtxSynchronize(); m.GraphExecDestroy(exec) })
	return exec
}

// inEveryOrder runs f on a machine of each mode, and of some seeds.
func inEveryOrder(t *testing.T, f func(m *machine)) {
	for _, mode := range modes {
		for seed := range 3 {
			t.Run(fmt.Sprint(mode, seed), func(t *testing.T) { f(start(t, "SIM_MODE", mode, "SIM_SEED", fmt.Sprint(seed))) })
			if mode == "late" || mode == "eager" {
				break // there is nothing to draw
			}
		}
	}
}

// TestAGraphRunsAtEachLaunch: and not while it is captured, behind what its stream has, before
// what that is given next, the work of a stream that was forked among it.
func TestAGraphRunsAtEachLaunch(t *testing.T) {
	inEveryOrder(t, func(m *machine) {
		one, two, a, b, c := m.stream("one"), m.stream("two"), m.alloc(64), m.alloc(64), m.alloc(64)
		m.set(c, 5, 16, one)
		exec := m.captured(one, func() {
			m.ok(m.MemcpyDtoDAsync(b, a, 64, one))
			m.wait(two, one)
			m.ok(m.MemcpyDtoDAsync(c, b, 64, two))
			m.wait(one, two)
			m.set(a, 0, 16, one)
		})
		if got := m.read(c, one); got != 5 {
			m.t.Errorf("after the capture there is %d, want 5", got)
		}
		for i := uint32(1); i < 4; i++ {
			m.set(a, i, 16, one)
			m.ok(m.GraphLaunch(exec, one))
			if got := m.read(c, one); got != i {
				m.t.Errorf("launch %d has copied %d", i, got)
			}
			if got := m.read(a, one); got != 0 {
				m.t.Errorf("launch %d has left %d", i, got)
			}
		}
		if launches, steps := m.Count("graph launches"), m.Count("graph steps"); launches != 3 || steps != 9 {
			m.t.Errorf("%d launches of %d steps together, want 3 and 9", launches, steps)
		}
	})
}

// TestLaunchesOfAGraphAreInOrder: whatever streams they are on.
func TestLaunchesOfAGraphAreInOrder(t *testing.T) {
	inEveryOrder(t, func(m *machine) {
		one, two, a, b := m.stream("one"), m.stream("two"), m.alloc(64), m.alloc(64)
		m.set(a, 1, 16, one)
		m.set(b, 2, 16, one)
		m.wait(two, one)
		exec := m.captured(one, func() { m.ok(m.MemcpyDtoDAsync(a, b, 64, one)); m.set(b, 3, 16, one) })
		m.ok(m.GraphLaunch(exec, one))
		m.ok(m.GraphLaunch(exec, two))
		if got := m.read(a, two); got != 3 {
			m.t.Errorf("the second launch has copied %d, want what the first has left: 3", got)
		}
		m.ok(m.StreamSynchronize(one))
	})
}

// TestAMissingWaitInAGraphIsARace: at its launch.
func TestAMissingWaitInAGraphIsARace(t *testing.T) {
	inEveryOrder(t, func(m *machine) {
		one, two, a, b := m.stream("one"), m.stream("two"), m.alloc(64), m.alloc(64)
		exec := m.captured(one, func() {
			m.wait(two, one)
			m.set(a, 1, 16, one)
			m.ok(m.MemcpyDtoDAsync(b, a, 64, two))
			m.wait(one, two)
		})
		m.ok(m.CtxSynchronize())
		m.found()
		m.ok(m.GraphLaunch(exec, one))
		m.ok(m.CtxSynchronize())
		if got := m.Findings(); len(got) != 1 || !strings.Contains(got[0], "set on one of a graph#") || !strings.Contains(got[0], "copy on two of a graph#") {
			m.t.Errorf("findings %q", got)
		}
		m.Reset()
	})
}

// TestAGraphIsNoWaitForOtherStreams: of what a stream has outside, a lane of its name knows nothing.
func TestAGraphIsNoWaitForOtherStreams(t *testing.T) {
	m := start(t)
	one, two, a := m.stream("one"), m.stream("two"), m.alloc(64)
	exec := m.captured(one, func() { m.wait(two, one); m.set(a, 1, 16, two); m.wait(one, two) })
	m.set(a, 2, 16, two)
	m.ok(m.GraphLaunch(exec, one))
	m.ok(m.CtxSynchronize())
	m.found("are unordered: no Wait between them")
}

// TestMemoryThatAGraphUsesHasToStay: a launch after it was freed touches what nobody has.
func TestMemoryThatAGraphUsesHasToStay(t *testing.T) {
	m := start(t)
	s, a := m.stream("s"), m.alloc(64)
	exec := m.captured(s, func() { m.set(a, 1, 16, s) })
	m.ok(m.GraphLaunch(exec, s))
	m.ok(m.StreamSynchronize(s))
	m.ok(m.MemFree(a))
	m.ok(m.GraphLaunch(exec, s))
	if r := m.StreamSynchronize(s); r != api.CUDA_ERROR_ILLEGAL_ADDRESS {
		t.Errorf("result %d, want %d", r, api.CUDA_ERROR_ILLEGAL_ADDRESS)
	}
	m.found("set on s of a graph touches 64 bytes that nobody has")
}

// attempt is what a refusal is tried with: stream one is in a capture, two and three are not.
type attempt struct {
	*machine
	one, two, three uintptr
	outside         uintptr // an event of three's
	address         uint64
}

func (a *attempt) event(s uintptr) (e uintptr) {
	a.t.Helper()
	a.ok(a.EventCreate(&e, 0))
	a.ok(a.EventRecord(e, s))
	return e
}

// allowed is no result of the driver's: a call may return it that must not be refused.
const allowed = api.CUDA_SUCCESS

// TestWhatACaptureRefuses: by which result, and how the capture ends then.
func TestWhatACaptureRefuses(t *testing.T) {
	const global, own, relaxed = api.CU_STREAM_CAPTURE_MODE_GLOBAL, api.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, api.CU_STREAM_CAPTURE_MODE_RELAXED
	elsewhere := func(f func() api.Result) (r api.Result) {
		done := make(chan api.Result)
		go func() { done <- f() }()
		return <-done
	}
	for _, c := range []struct {
		name  string
		mode  int
		try   func(a *attempt) api.Result
		want  api.Result
		ended api.Result // of EndCapture
	}{
		{"a wait of the host for the stream", relaxed, func(a *attempt) api.Result { return a.StreamSynchronize(a.one) },
			api.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, api.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED},
		{"a question to the stream", relaxed, func(a *attempt) api.Result { return a.StreamQuery(a.one) },
			api.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, api.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED},
		{"a wait of the host for the context", relaxed, func(a *attempt) api.Result { return a.CtxSynchronize() },
			api.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, api.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED},
		{"a wait of the host for a captured event", relaxed, func(a *attempt) api.Result { return a.EventSynchronize(a.event(a.one)) },
			api.CUDA_ERROR_CAPTURED_EVENT, api.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED},
		{"a question to a captured event", relaxed, func(a *attempt) api.Result { return a.EventQuery(a.event(a.one)) },
			api.CUDA_ERROR_CAPTURED_EVENT, api.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED},
		{"a wait for an event of before", relaxed, func(a *attempt) api.Result { return a.StreamWaitEvent(a.one, a.outside, 0) },
			api.CUDA_ERROR_STREAM_CAPTURE_ISOLATION, api.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED},
		{"memory that is not pinned", relaxed, func(a *attempt) api.Result {
			return a.MemcpyHtoDAsync(a.address, unsafe.Pointer(new([64]byte)), 64, a.one)
		}, api.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, api.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED},
		{"a launch of another graph", relaxed, func(a *attempt) api.Result {
			return a.GraphLaunch(a.captured(a.two, func() {}), a.one)
		}, api.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, api.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED},
		{"the end of the stream", relaxed, func(a *attempt) api.Result { return a.StreamDestroy(a.one) },
			api.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, api.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED},
		{"a second begin", relaxed, func(a *attempt) api.Result { return a.StreamBeginCapture(a.one, relaxed) },
			api.CUDA_ERROR_ILLEGAL_STATE, allowed},
		{"another capture's event", relaxed, func(a *attempt) api.Result {
			a.ok(a.StreamBeginCapture(a.two, relaxed))
			r := a.StreamWaitEvent(a.one, a.event(a.two), 0)
			if ended := a.StreamEndCapture(a.two, new(uintptr)); ended != api.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED {
				a.t.Errorf("the other capture ends with %d", ended)
			}
			return r
		}, api.CUDA_ERROR_STREAM_CAPTURE_MERGE, api.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED},
		{"an end on a forked stream", relaxed, func(a *attempt) api.Result {
			a.wait(a.two, a.one)
			return a.StreamEndCapture(a.two, new(uintptr))
		}, api.CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, api.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED},
		{"a fork without a join", relaxed, func(a *attempt) api.Result {
			a.wait(a.two, a.one)
			return a.MemsetD32Async(a.address, 1, 16, a.two)
		}, allowed, api.CUDA_ERROR_STREAM_CAPTURE_UNJOINED},
		{"work behind a join", relaxed, func(a *attempt) api.Result {
			a.wait(a.two, a.one)
			a.wait(a.one, a.two)
			return a.MemsetD32Async(a.address, 1, 16, a.two)
		}, allowed, api.CUDA_ERROR_STREAM_CAPTURE_UNJOINED},
		{"a join by way of a third", relaxed, func(a *attempt) api.Result {
			a.wait(a.two, a.one)
			a.wait(a.three, a.two)
			a.wait(a.one, a.three)
			return a.MemsetD32Async(a.address, 1, 16, a.one)
		}, allowed, allowed},
		{"memory, globally", global, func(a *attempt) api.Result { return a.MemAlloc(new(uint64), 64) },
			api.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, api.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED},
		{"memory, relaxed", relaxed, func(a *attempt) api.Result { return a.MemAlloc(new(uint64), 64) }, allowed, allowed},
		{"another thread's question, globally", global, func(a *attempt) api.Result {
			return elsewhere(func() api.Result { return a.EventQuery(a.outside) })
		}, api.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, api.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED},
		{"another thread's question, of a thread that is relaxed", global, func(a *attempt) api.Result {
			return elsewhere(func() api.Result {
				runtime.LockOSThread() // and it ends with the goroutine
				mode := int32(relaxed)
				a.ok(a.ThreadExchangeStreamCaptureMode(&mode))
				if mode != global {
					a.t.Errorf("a thread's mode was %d", mode)
				}
				return a.MemAlloc(new(uint64), 64)
			})
		}, allowed, allowed},
		{"another thread's end", own, func(a *attempt) api.Result {
			return elsewhere(func() api.Result { return a.StreamEndCapture(a.one, new(uintptr)) })
		}, api.CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, allowed},
		{"another thread's end, relaxed", relaxed, func(a *attempt) api.Result {
			return elsewhere(func() api.Result { return a.StreamEndCapture(a.one, new(uintptr)) })
		}, allowed, api.CUDA_ERROR_ILLEGAL_STATE},
	} {
		t.Run(c.name, func(t *testing.T) {
			runtime.LockOSThread() // a capture's mode and end are a thread's
			defer runtime.UnlockOSThread()
			m := start(t)
			a := &attempt{machine: m, one: m.stream("one"), two: m.stream("two"), three: m.stream("three"), address: m.alloc(64)}
			a.outside = a.event(a.three)
			m.ok(m.StreamBeginCapture(a.one, c.mode))
			if r := c.try(a); r != c.want {
				t.Errorf("result %d, want %d", r, c.want)
			}
			var status, want int32 = 0, api.CU_STREAM_CAPTURE_STATUS_ACTIVE
			switch c.ended {
			case api.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED:
				want = api.CU_STREAM_CAPTURE_STATUS_INVALIDATED
				if r := m.MemsetD32Async(a.address, 1, 16, a.one); r != api.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED {
					t.Errorf("the capture takes work after that: %d", r)
				}
			case api.CUDA_ERROR_ILLEGAL_STATE:
				want = api.CU_STREAM_CAPTURE_STATUS_NONE
			}
			m.ok(m.StreamIsCapturing(a.one, &status))
			if status != want {
				t.Errorf("the capture's status is %d, want %d", status, want)
			}
			var graph uintptr
			if r := m.StreamEndCapture(a.one, &graph); r != c.ended {
				t.Errorf("the capture ends with %d, want %d", r, c.ended)
			}
			if (graph != 0) != (c.ended == allowed) {
				t.Errorf("there is a graph: %v", graph != 0)
			}
			if graph != 0 {
				m.ok(m.GraphDestroy(graph))
			}
			// All goes on as before.
			m.set(a.address, 9, 16, a.one)
			m.wait(a.two, a.one)
			if got := m.read(a.address, a.two); got != 9 {
				t.Errorf("after the capture %d is read", got)
			}
		})
	}
}
