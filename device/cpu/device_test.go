// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"errors"
	"strings"
	"testing"
	"unsafe"

	"go.uber.org/goleak"

	"octet/dtype"
)

func TestUnknownISAIsAnError(t *testing.T) {
	_, err := Open(Options{ISA: "sse9"})
	if err == nil || !strings.Contains(err.Error(), "sse9") || !strings.Contains(err.Error(), "portable") {
		t.Errorf("Open: %v; want the name and what there is", err)
	}
	t.Setenv("OCTET_CPU_ISA", "mmx")
	if _, err := Open(Options{}); err == nil || !strings.Contains(err.Error(), "OCTET_CPU_ISA=mmx") {
		t.Errorf("Open with OCTET_CPU_ISA=mmx: %v", err)
	}
	t.Setenv("OCTET_CPU_ISA", "portable")
	dev, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if yes, why := dev.Portable(); !yes || why == "" || dev.ISA() != Portable {
		t.Errorf("forced to the portable kernels: %v, %q, %v", yes, why, dev.ISA())
	}
}

func TestBuffersAreAligned(t *testing.T) {
	dev := open(t, Portable, 1)
	for _, n := range []int{0, 1, 4096, 3 << 20} {
		buf, err := dev.Alloc(n)
		if err != nil {
			t.Fatal(err)
		}
		if at := uintptr(unsafe.Pointer(unsafe.SliceData(buf.(*Buffer).mem))); buf.Len() != n || at%64 != 0 {
			t.Errorf("%d bytes at %#x, want %d at a multiple of 64", buf.Len(), at, n)
		}
		dev.Free(buf)
	}
	if _, err := dev.Alloc(-1); err == nil {
		t.Error("Alloc(-1) succeeded")
	}
}

func TestCloseReturnsWhatNoSyncHas(t *testing.T) {
	dev, err := Open(Options{Threads: 3})
	if err != nil {
		t.Fatal(err)
	}
	lost, seen := dev.NewStream("lost").(*Stream), dev.NewStream("seen").(*Stream)
	x := newTensor(t, dev, dtype.Float32, 100_000)
	bad, old := errors.New("bad"), errors.New("old")
	lost.Call("first", func() error { return bad })
	lost.Call("second", func() error { return errors.New("skipped") })
	seen.Zero(x)
	seen.Call("gone", func() error { return old })
	if err := seen.Sync(); !errors.Is(err, old) || !strings.Contains(err.Error(), "gone") {
		t.Errorf("Sync: %v", err)
	}
	if err := dev.Close(); !errors.Is(err, bad) || errors.Is(err, old) || strings.Contains(err.Error(), "skipped") {
		t.Errorf("Close: %v, want only the error no Sync has returned", err)
	}
	goleak.VerifyNone(t)
}

func TestPiecesRunOnceEach(t *testing.T) {
	for _, threads := range []int{1, 2, 7} {
		w := newWorkers(threads, func() {})
		for _, n := range []int{0, 1, 2, 100} {
			ran := make([]int, n)
			w.run(n, func(i int) { ran[i]++ })
			for i, r := range ran {
				if r != 1 {
					t.Errorf("%d threads, %d pieces: piece %d ran %d times", threads, n, i, r)
				}
			}
		}
		w.close()
	}
}
