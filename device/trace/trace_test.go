// SPDX-License-Identifier: Apache-2.0

package trace_test

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"octet/device"
	"octet/device/devicetest"
	"octet/device/null"
	"octet/device/trace"
	"octet/dtype"
	"octet/tensor"
	"octet/test/ranks"
)

// TestEveryKernelIsNotedAndHasTheSameBits: what the suite runs has the device's own
// results, and all that a device offers is among what was noted, with times that do not overlap.
func TestEveryKernelIsNotedAndHasTheSameBits(t *testing.T) {
	log := &trace.Log{}
	want := devicetest.Bits(t, ranks.Device(t, ranks.Options{}))
	dev := ranks.Device(t, ranks.Options{})
	log.Start()
	got := devicetest.Bits(t, trace.New(dev, log))
	if err := dev.Wait(); err != nil {
		t.Fatal(err)
	}
	for name, bits := range want {
		if !bytes.Equal(got[name], bits) {
			t.Errorf("%s: other bits where it is traced", name)
		}
	}
	spans, seen := log.Stop(), map[string]bool{}
	s := dev.NewStream("test")
	_, host := s.(device.HostStream)
	_, clock := s.(device.TimedStream)
	timed := host || clock
	for _, s := range spans {
		seen[s.Name] = true
		if s.Kind == trace.Kernel && (len(s.Args) == 0 && s.Name != "AdamW" && s.Name != "Amax" && s.Name != "SumSquares" || s.Timed != timed) {
			t.Errorf("%s has arguments %v; timed: %v, want %v", s.Name, s.Args, s.Timed, timed)
		}
	}
	kernels := reflect.TypeFor[device.Kernels]()
	for i := range kernels.NumMethod() {
		if name := kernels.Method(i).Name; name != "Float8TN" && !seen[name] {
			t.Errorf("%s was not noted", name)
		}
	}
	apart(t, spans)
}

// apart reports spans of a stream that overlap.
func apart(t *testing.T, spans []*trace.Span) {
	t.Helper()
	last := map[string]time.Duration{}
	for _, s := range spans {
		if !s.Timed {
			continue
		}
		if s.Begin < last[s.Stream] || s.End < s.Begin {
			t.Errorf("%s %s is from %v to %v, the one before it on %s ends at %v", s.Kind, s.Name, s.Begin, s.End, s.Stream, last[s.Stream])
		}
		last[s.Stream] = s.End
	}
}

// TestStreamsKeepTheirContract: order, events, errors.
func TestStreamsKeepTheirContract(t *testing.T) {
	if _, ok := ranks.Device(t, ranks.Options{}).NewStream("test").(device.HostStream); !ok {
		t.Skip("streams are held by a piece of work of the host's")
	}
	devicetest.RunStream(t, devicetest.Options{
		Open: func(t *testing.T) device.Device {
			log := &trace.Log{}
			log.Start()
			return trace.New(ranks.Device(t, ranks.Options{}), log)
		},
		Hold: func(s device.Stream) (release func()) {
			gate := make(chan struct{})
			s.(device.HostStream).Call("hold", func() error {
				<-gate
				return nil
			})
			return func() { close(gate) }
		},
	})
}

// TestCosts are those of the contract, by hand: tensors [64,32] and the like.
func TestCosts(t *testing.T) {
	log := &trace.Log{}
	dev := trace.New(null.Open(null.Options{}), log)
	s, pool := dev.NewStream("compute"), device.NewPool(dev)
	bf16 := func(shape ...int) *tensor.Tensor { return pool.New(dtype.BFloat16, shape...) }
	f32 := func(shape ...int) *tensor.Tensor { return pool.New(dtype.Float32, shape...) }
	e4m3 := func(r, c int, scales ...int) tensor.Operand {
		return tensor.Operand{Tensor: pool.New(dtype.Float8E4M3, r, c), Scale: f32(scales...), Inv: f32(scales...)}
	}
	wide := tensor.Operand{Tensor: bf16(64, 32)}
	q, k, lse := bf16(2, 8, 4, 16), bf16(2, 8, 2, 16), f32(2, 4, 8)
	const attention = 2 * 4 * 36 * 16 * 2 // batch, heads, pairs seen, head dim, two operations
	for _, tt := range []struct {
		name  string
		run   func()
		flops float64
		bytes int64
		unit  dtype.Type
	}{
		{"Zero", func() { s.Zero(f32(8)) }, 0, 32, 0},
		{"Amax", func() { s.Amax(f32(2), []*tensor.Tensor{f32(8), bf16(4)}) }, 0, 8 + 32 + 8, 0},
		{"Cast", func() { s.Cast(e4m3(64, 32), tensor.Operand{}, wide) }, 0, 4 + 2048 + 4096, 0},
		{"DynamicCast", func() { s.DynamicCast(e4m3(64, 32), tensor.Operand{}, wide, false) }, 0, 4 + 2048 + 2*4096, 0},
		{"DynamicCast", func() { s.DynamicCast(e4m3(64, 32, 64, 1), tensor.Operand{}, wide, false) }, 0, 4*64 + 2048 + 4096, 0},
		{"MatMul", func() {
			s.MatMul(f32(64, 16), e4m3(64, 32), e4m3(16, 32), device.MatMulOptions{TransB: true, FastAccum: true})
		},
			2 * 64 * 32 * 16, 4096 + 2048 + 512 + 8, dtype.Float8E4M3},
		{"MatMul", func() {
			s.MatMul(f32(64, 16), e4m3(32, 64), e4m3(32, 16), device.MatMulOptions{TransA: true, Accumulate: true})
		},
			2 * 64 * 32 * 16, 2*4096 + 2048 + 512 + 8, dtype.BFloat16},
		{"MatMul", func() { s.MatMul(f32(64, 16), wide, tensor.Operand{Tensor: f32(32, 16)}, device.MatMulOptions{}) },
			2 * 64 * 32 * 16, 4096 + 4096 + 2048, dtype.Float32},
		{"Attention", func() { s.Attention(q, lse, q, k, k, nil, nil, nil) }, 2 * attention, 2*2048 + 256 + 2*1024, dtype.BFloat16},
		{"AttentionGrad", func() { s.AttentionGrad(q, k, k, q, q, k, k, q, lse, nil, nil, nil) }, 5 * attention, 4*2048 + 256 + 4*1024, dtype.BFloat16},
		{"RoPE", func() { s.RoPE(q, f32(8, 8, 2), nil, false, nil) }, 0, 2*2048 + 512, 0},
		{"RMSNorm", func() { s.RMSNorm(wide.Tensor, nil, f32(64), wide.Tensor, nil, f32(32), 1e-5, nil) }, 0, 2*4096 + 256 + 128, 0},
		{"CrossEntropy", func() { s.CrossEntropy(f32(1), wide.Tensor, pool.New(dtype.Int32, 64), f32(1)) }, 0, 2*4096 + 256, 0},
		{"AdamW", func() {
			l := []*tensor.Tensor{f32(8), f32(2)}
			s.AdamW(l, l, l, l, nil, nil, device.AdamWOptions{})
		}, 0, 7 * 40, 0},
	} {
		log.Start()
		tt.run()
		spans := log.Stop()
		if len(spans) != 1 {
			t.Fatalf("%s: %d spans", tt.name, len(spans))
		}
		if got := spans[0]; got.Name != tt.name || got.FLOPs != tt.flops || got.Bytes != tt.bytes || got.Unit != tt.unit || got.Timed {
			t.Errorf("got %+v, want %s with %v operations of %v and %d bytes", *got, tt.name, tt.flops, tt.unit, tt.bytes)
		}
	}
}

// TestTimesOfASimulatedGPU: those of its clock, set by the host's once; what a stream with an
// error was given has none.
func TestTimesOfASimulatedGPU(t *testing.T) {
	t.Setenv(ranks.DeviceVar, ranks.Sim)
	driver := ranks.Simulated(t)
	dev, log := ranks.Device(t, ranks.Options{}), &trace.Log{}
	traced := trace.New(dev, log)
	a, b := traced.NewStream("a"), traced.NewStream("b")
	pool := device.NewPool(traced)
	x := pool.New(dtype.Float32, 1<<20)
	for range 2 { // also when it is started again
		a.Zero(x)
		if err := dev.Wait(); err != nil {
			t.Fatal(err)
		}
		log.StartAt(time.Now().Add(-time.Hour))
		before := driver.Count("host waits")
		a.Copy(pool.New(dtype.Float32, 1<<20), x)
		b.Wait(a.Record())
		b.Zero(x)
		if n := driver.Count("host waits") - before; n != 1 {
			t.Errorf("the host waited %d times, want once, to set the clock", n)
		}
		if err := dev.Wait(); err != nil {
			t.Fatal(err)
		}
		spans := log.Stop()
		if len(spans) != 3 {
			t.Fatalf("%d spans", len(spans))
		}
		copied, waited, zeroed := spans[0], spans[1], spans[2]
		for _, s := range spans {
			if !s.Timed || s.Begin < time.Hour || s.End < s.Begin || s.End > 2*time.Hour {
				t.Errorf("%s is from %v to %v (timed: %v)", s.Name, s.Begin, s.End, s.Timed)
			}
		}
		if copied.Took() == 0 || waited.End < copied.End || zeroed.Begin < waited.End {
			t.Errorf("a copies until %v, b waits for it until %v and is at work from %v", copied.End, waited.End, zeroed.Begin)
		}
	}
	log.Start()
	a.Zero(x)
	a.(device.NativeStream).Fail(errors.New("failed"))
	a.Zero(x)
	if err := dev.Wait(); err == nil {
		t.Fatal("no error")
	}
	if spans := log.Stop(); !spans[0].Timed || spans[1].Timed {
		t.Errorf("timed: %v and %v, want what was enqueued before the error alone", spans[0].Timed, spans[1].Timed)
	}
}

// TestWaitsNameTheirStream, and take as long as it does; what is not asked for is not noted.
func TestWaitsNameTheirStream(t *testing.T) {
	dev, log := ranks.Device(t, ranks.Options{}), &trace.Log{}
	traced := trace.New(dev, log)
	a, b := traced.NewStream("a"), traced.NewStream("b")
	slow, ok := a.(device.HostStream)
	if !ok {
		t.Skip("no times")
	}
	x := device.NewPool(traced).New(dtype.Float32, 4)
	a.Zero(x)
	if err := dev.Wait(); err != nil {
		t.Fatal(err)
	}
	log.Start()
	const long = 20 * time.Millisecond
	slow.Call("sleep", func() error { time.Sleep(long); return nil })
	b.Wait(a.Record())
	b.Zero(x)
	failed := errors.New("failed")
	slow.Call("fail", func() error { return failed })
	a.Zero(x)
	if err := dev.Wait(); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	spans := log.Stop()
	names := make([]string, len(spans))
	for i, s := range spans {
		names[i] = s.Stream + ": " + s.Name + " " + s.Of
	}
	if want := []string{"b: wait a", "b: Zero ", "a: Zero "}; !slices.Equal(names, want) {
		t.Fatalf("noted %q, want %q", names, want)
	}
	if took := spans[0].Took(); took < long/2 {
		t.Errorf("a wait for a piece of %v took %v", long, took)
	}
	if !spans[0].Timed || !spans[1].Timed || spans[2].Timed {
		t.Errorf("what ran is timed, what was skipped after an error is not: %+v", spans)
	}
	b.Zero(x)
	if more := log.Stop(); len(more) != 0 {
		t.Errorf("%d spans were noted after Stop", len(more))
	}
}

// queues is a device of driver's queues.
type queues struct{ device.Device }

type queue struct{ device.Stream }

func (q queues) NewStream(name string) device.Stream       { return queue{q.Device.NewStream(name)} }
func (queue) Native(_ string, f func(queue uintptr) error) { _ = f(7) }
func (queue) Address(*tensor.Tensor) uintptr               { return 8 }
func (queue) Fail(error)                                   {}

// TestStreamsStayWhatTheyAre: communicators ask for more than a device.Stream.
func TestStreamsStayWhatTheyAre(t *testing.T) {
	dev := null.Open(null.Options{Float8TN: true})
	plain := trace.New(dev, &trace.Log{}).NewStream("a")
	if _, ok := plain.(device.HostStream); ok || !plain.Float8TN() {
		t.Error("a stream of device/null became a HostStream, or lost its layouts")
	}
	native, ok := trace.New(queues{dev}, &trace.Log{}).NewStream("a").(device.NativeStream)
	if !ok {
		t.Fatal("a NativeStream is none any more")
	}
	var got uintptr
	native.Native("a", func(q uintptr) error { got = q; return nil })
	if got != 7 || native.Address(nil) != 8 {
		t.Errorf("queue %d, address %d", got, native.Address(nil))
	}
}
