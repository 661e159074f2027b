// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"math"
	"time"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// Peak measures what the device multiplies at most with operands of a type, in FLOP/s:
// products of squares, twice as large until one takes long enough to be measured. It is 0
// of a device that fails; what runs next says why.
func (d *Device) Peak(operands dtype.Type) float64 {
	const long, largest = 5 * time.Millisecond, 8192
	d.mu.Lock()
	dead := d.dead != nil
	d.mu.Unlock()
	if dead {
		return 0
	}
	s, best := d.newStream("peak"), 0.0
	for n := 64; n <= largest; n *= 2 {
		took, ok := d.square(s, operands, n)
		if !ok {
			return 0
		}
		best = max(best, 2*float64(n)*float64(n)*float64(n)/took.Seconds())
		if took > long {
			break
		}
	}
	return best
}

// square is the time of a product of two squares.
func (d *Device) square(s *Stream, operands dtype.Type, n int) (took time.Duration, ok bool) {
	var of [3]*tensor.Tensor
	for i, t := range []dtype.Type{operands, operands, dtype.BFloat16} {
		mem, err := d.Alloc(n * n * t.Size())
		if err != nil {
			return 0, false
		}
		defer d.Free(mem)
		of[i] = tensor.New(mem, t, n, n)
		s.Zero(of[i])
	}
	took = time.Duration(math.MaxInt64)
	for range 3 { // the first loads what there is to load
		if s.Sync() != nil {
			return 0, false
		}
		start := time.Now()
		s.MatMul(of[2], tensor.Operand{Tensor: of[0]}, tensor.Operand{Tensor: of[1]}, device.MatMulOptions{TransB: true})
		if s.Sync() != nil {
			return 0, false
		}
		took = min(took, time.Since(start))
	}
	return took, true
}
