// SPDX-License-Identifier: Apache-2.0

package devicetest_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"octet/device"
	"octet/device/cpu"
	"octet/device/devicetest"
	"octet/dtype"
	"octet/tensor"
)

// other is a device as unlike cpu as the contracts allow: it reads float8 only
// with the summed dimension contiguous, sums products in pairs, has streams
// that the host cannot touch, and runs what is enqueued behind an error until
// somebody asks.
type other struct{ device.Device }

type otherStream struct {
	device.Stream
	dev  device.Device
	host device.HostStream
	late error // only for work of the stream
}

func (d other) NewStream(name string) device.Stream {
	s := d.Device.NewStream(name)
	return &otherStream{Stream: s, dev: d.Device, host: s.(device.HostStream)}
}

// TestAnyDeviceCanPass: the suite asks nothing that only package cpu does.
func TestAnyDeviceCanPass(t *testing.T) {
	devicetest.Run(t, devicetest.Options{
		Open: func(t *testing.T) device.Device {
			dev, err := cpu.Open(cpu.Options{ISA: "portable", Float8TN: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := dev.Close(); err != nil {
					t.Error(err)
				}
			})
			return other{dev}
		},
		Hold: func(s device.Stream) (release func()) {
			gate := make(chan struct{})
			s.(*otherStream).host.Call("hold", func() error { <-gate; return nil })
			return func() { close(gate) }
		},
		Tolerance: 2,
	})
}

// surface lets an error out that happened in earlier work.
func (s *otherStream) surface() {
	s.host.Call("earlier", func() error {
		err := s.late
		s.late = nil
		return err
	})
}

func (s *otherStream) Record() device.Event {
	s.surface()
	return s.Stream.Record()
}

func (s *otherStream) Sync() error {
	s.surface()
	return s.Stream.Sync()
}

// CrossEntropy keeps a bad target's error for later and goes on without it.
func (s *otherStream) CrossEntropy(loss, logits, targets, scale *tensor.Tensor) {
	vocab := logits.Dim(-1)
	s.host.Call("targets", func() error {
		mem := s.host.Bytes(targets)
		for i := 0; i < len(mem); i += 4 {
			target := int32(binary.LittleEndian.Uint32(mem[i:]))
			if target != device.Ignored && (target < 0 || int(target) >= vocab) {
				s.late = fmt.Errorf("target %d is not in a vocabulary of %d", target, vocab)
				binary.LittleEndian.PutUint32(mem[i:], 0)
			}
		}
		return nil
	})
	s.Stream.CrossEntropy(loss, logits, targets, scale)
}

// MatMul lets the cpu device judge the operands, by a product that nobody
// reads, and then sums in pairs.
func (s *otherStream) MatMul(dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions) {
	unread, err := s.dev.Alloc(dst.Bytes())
	if err != nil {
		panic(err)
	}
	s.Stream.MatMul(tensor.New(unread, dst.Type, dst.Shape...), a, b, device.MatMulOptions{TransA: o.TransA, TransB: o.TransB})
	s.host.Call("matmul", func() error {
		s.dev.Free(unread)
		m, n := dst.Matrix()
		_, k := a.Value()
		if o.TransA {
			k, _ = a.Value()
		}
		left, right := s.lanes(a, !o.TransA), s.lanes(b, o.TransB)
		for i := range m {
			for j := range n {
				v := pairs(0, k, func(l int) float32 { return left.at(i, l) * right.at(j, l) }) * left.inv(i) * right.inv(j)
				if o.Accumulate {
					v += read(dst, s.host.Bytes(dst), i*n+j)
				}
				write(dst, s.host.Bytes(dst), i*n+j, v)
			}
		}
		return nil
	})
}

// pairs is Σ f(l) for l from lo to hi-1, halves first.
func pairs(lo, hi int, f func(l int) float32) float32 {
	switch hi - lo {
	case 0:
		return 0
	case 1:
		return f(lo)
	}
	mid := (lo + hi) / 2
	return pairs(lo, mid, f) + pairs(mid, hi, f)
}

// lanes reads an operand by lane and k, and the reciprocal of a lane's scale.
type lanes struct {
	at  func(lane, k int) float32
	inv func(lane int) float32
}

func (s *otherStream) lanes(o tensor.Operand, lanesFirst bool) lanes {
	mem, inv := s.host.Bytes(o.Tensor), func(int) float32 { return 1 }
	_, ld := o.Matrix()
	if o.Inv != nil {
		invs, each := s.host.Bytes(o.Inv), 1
		if o.Granularity() == tensor.PerTensor {
			each = 0
		}
		inv = func(lane int) float32 { return read(o.Inv, invs, each*lane) }
	}
	return lanes{func(lane, k int) float32 {
		if lanesFirst == o.Transposed {
			lane, k = k, lane
		}
		return read(o.Tensor, mem, lane*ld+k)
	}, inv}
}

func read(t *tensor.Tensor, mem []byte, i int) float32 {
	switch t.Type {
	case dtype.Float32:
		return math.Float32frombits(binary.LittleEndian.Uint32(mem[4*i:]))
	case dtype.BFloat16:
		return dtype.BF16(binary.LittleEndian.Uint16(mem[2*i:])).Float32()
	}
	return t.Type.Format().Decode(mem[i])
}

func write(t *tensor.Tensor, mem []byte, i int, v float32) {
	if t.Type == dtype.Float32 {
		binary.LittleEndian.PutUint32(mem[4*i:], math.Float32bits(v))
		return
	}
	binary.LittleEndian.PutUint16(mem[2*i:], uint16(dtype.ToBF16(v)))
}
