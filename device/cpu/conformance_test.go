// SPDX-License-Identifier: Apache-2.0

package cpu

import (
	"bytes"
	"slices"
	"testing"

	"octet/device"
	"octet/device/devicetest"
)

// open makes a device that ends with the test.
func open(t testing.TB, isa ISA, threads int) *Device {
	t.Helper()
	dev, err := Open(Options{Threads: threads, ISA: isa.String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return dev
}

// eachISA runs f for every instruction set of this processor and build; where tests
// are slow, for the slowest and the best: their pieces are the same for all.
func eachISA[T interface{ Run(string, func(T)) bool }](t T, f func(t T, isa ISA)) {
	list := available()
	if devicetest.Slow() {
		list = ends(list)
	}
	for _, isa := range list {
		t.Run(isa.String(), func(t T) { f(t, isa) })
	}
}

// ends are the slowest and the best of a list, which may be one.
func ends(list []ISA) []ISA { return slices.Compact([]ISA{list[0], list[len(list)-1]}) }

func TestConformance(t *testing.T) {
	eachISA(t, func(t *testing.T, isa ISA) {
		devicetest.Run(t, devicetest.Options{
			Open:            func(t *testing.T) device.Device { return open(t, isa, 2) },
			Hold:            hold,
			SkipsAfterError: true,
		})
	})
}

// TestFloat8TNHasTheSameBits: a device that refuses layouts computes what it
// takes as any other.
func TestFloat8TNHasTheSameBits(t *testing.T) {
	list := available()
	isa := list[len(list)-1]
	strict, err := Open(Options{ISA: isa.String(), Float8TN: true})
	if err != nil {
		t.Fatal(err)
	}
	defer strict.Close()
	free, refused := devicetest.Bits(t, open(t, isa, 1)), 0
	bits := devicetest.Bits(t, strict)
	for name, want := range free {
		switch got, ok := bits[name]; {
		case !ok:
			refused++
		case !bytes.Equal(got, want):
			t.Errorf("%s: other bits", name)
		}
	}
	if refused == 0 || refused > len(free)/2 {
		t.Errorf("%d of %d results are refused", refused, len(free))
	}
}

// hold keeps s waiting until it is released.
func hold(s device.Stream) (release func()) {
	gate := make(chan struct{})
	s.(device.HostStream).Call("hold", func() error { <-gate; return nil })
	return func() { close(gate) }
}

// The pieces are the same for all instruction sets: the slowest and the best
// stand for them.
func TestBitsDoNotDependOnThreads(t *testing.T) {
	for _, isa := range ends(available()) {
		t.Run(isa.String(), func(t *testing.T) {
			one := devicetest.Bits(t, open(t, isa, 1))
			for name, got := range devicetest.Bits(t, open(t, isa, 3)) {
				if !bytes.Equal(one[name], got) {
					t.Errorf("%s: three threads give other bits than one", name)
				}
			}
		})
	}
}
