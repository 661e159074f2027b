// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"fmt"
	"math"
	"time"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// Peak measures what the device multiplies at most with operands of a type, in FLOP/s:
// products of squares, twice as large until one takes long enough to be measured.
func (d *Device) Peak(operands dtype.Type) float64 {
	const long, largest = 5 * time.Millisecond, 8192
	s, pool := d.newStream("peak"), device.NewPool(d)
	best := 0.0
	for n := 64; n <= largest; n *= 2 {
		a, b, y := pool.New(operands, n, n), pool.New(operands, n, n), pool.New(dtype.BFloat16, n, n)
		s.Zero(a)
		s.Zero(b)
		took := time.Duration(math.MaxInt64)
		for range 3 { // the first loads what there is to load
			if err := s.Sync(); err != nil {
				panic(fmt.Sprintf("cuda: measuring the peak: %v", err))
			}
			start := time.Now()
			s.MatMul(y, tensor.Operand{Tensor: a}, tensor.Operand{Tensor: b}, device.MatMulOptions{TransB: true})
			if err := s.Sync(); err != nil {
				panic(fmt.Sprintf("cuda: measuring the peak: %v", err))
			}
			took = min(took, time.Since(start))
		}
		best = max(best, 2*float64(n)*float64(n)*float64(n)/took.Seconds())
		for _, x := range []*tensor.Tensor{a, b, y} {
			d.Free(x.Buf)
		}
		if took > long {
			break
		}
	}
	return best
}
