// SPDX-License-Identifier: Apache-2.0

package tp

import (
	"errors"
	"slices"
	"testing"
	"time"

	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/nn/nntest"
	"octet/tensor"
	"octet/test/ranks"
)

// TestSumsArriveInMemoryThatNobodyReads: what compute's stream, which is late, reads after a product is not written over by the product's
// sums, although it is free by then.
func TestSumsArriveInMemoryThatNobodyReads(t *testing.T) {
	ranks.Run(t, 2, ranks.Options{ISA: "portable"}, func(r *ranks.Rank) error {
		g, err := alone(r.World)
		if err != nil {
			return err
		}
		o, err := NewOverlap(g, r.Device)
		if err != nil {
			return err
		}
		rig := nntest.New(t, r.Device, dtype.Float32)
		c := rig.Ctx
		host, ok := c.Stream.(device.HostStream)
		if !ok {
			t.Skipf("a stream of %s runs no code of the host", r.Device.Name())
		}
		a, b := tensor.Operand{Tensor: rig.Put([]float32{1, 2, 3, 4}, 4, 1)}, tensor.Operand{Tensor: rig.Put([]float32{10}, 1, 1)}
		for _, leaves := range []nn.MatMul{nn.GradInput, nn.Output} {
			before, read, term := c.Pool.New(dtype.Float32, 2, 1), rig.Empty(dtype.Float32, 2, 1), rig.Empty(dtype.Float32, 4, 1)
			c.Stream.Upload(before, device.Float32Bytes([]float32{5, 6}))
			multiplier{o, leaves}.multiply(c, leaves, term, a, b, device.MatMulOptions{})
			host.Call("late", func() error { time.Sleep(200 * time.Millisecond); return nil })
			c.Stream.Copy(read, before)
			c.Pool.Free(before)
			own := o.scatter(c, term)
			if own == nil {
				return errors.New("no rows leave")
			}
			got, want := slices.Concat(rig.Get(read), rig.Get(own)), [][]float32{{5, 6, 20, 40}, {5, 6, 60, 80}}[r.Rank]
			if !slices.Equal(got, want) {
				t.Errorf("rank %d, %v leaves: reads %v, want %v", r.Rank, leaves, got, want)
			}
			c.Pool.Free(own)
		}
		return o.Sync()
	})
}
