// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"time"

	"octet/device"
	"octet/device/cuda/gemm"
	"octet/tensor"
)

var _ device.Tuner = (*Device)(nil)

// Tune times cuBLASLt's algorithms for a product; see device.Tuner.
func (d *Device) Tune(stream device.Stream, dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions, turns int, within time.Duration) (device.Tuning, error) {
	s := stream.(*Stream)
	x, y := must.MatMul(dst, a, b, o)
	if d.products == nil {
		return device.Tuning{}, errors.New("cuda: there is nothing to tune: " + d.warning)
	}
	how := d.products.Choose(problemOf(dst, a, b, x, y, o))
	if how.Kind == gemm.Own {
		return device.Tuning{Own: how.Why}, nil
	}
	args, _, ok := s.productArgs(how, dst, a, b, x, y)
	if !ok {
		return device.Tuning{}, s.Sync()
	}
	times, best, err := d.products.Tune(how.Plan, turns, within, func() error {
		s.usable()
		return how.Plan.Run(s.handle, args)
	}, s.timed)
	if err = errors.Join(err, s.Sync()); err != nil {
		return device.Tuning{}, fmt.Errorf("cuda: %v = %v·%v on stream %s: %w", dst, a, b, s.name, err)
	}
	return device.Tuning{Times: times, Best: best}, nil
}

// timed is how long work takes on the stream alone.
func (s *Stream) timed(enqueue func() error) (time.Duration, error) {
	from := s.Stamp()
	err := enqueue()
	to := s.Stamp()
	if err = errors.Join(err, s.Sync()); err != nil {
		return 0, err
	}
	return to.Since(from)
}

// SaveTuned keeps what was tuned; see device.Tuner.
func (d *Device) SaveTuned() (path string, err error) {
	if d.products == nil {
		return "", errors.New("cuda: there is nothing to keep: " + d.warning)
	}
	return d.products.SaveTuned()
}
