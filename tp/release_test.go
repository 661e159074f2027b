// SPDX-License-Identifier: Apache-2.0

package tp

import (
	"slices"
	"testing"
	"time"

	"octet/comm/grid"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/nn"
	"octet/nn/nntest"
	"octet/tensor"
	"octet/test/ranks"
)

// TestReleasedMemoryIsReadToItsEnd: sums that are released are not written over by those of a product that was made before them, while compute's
// stream, which is late, still reads them. In a model each product follows the release of the last one's sums, and waits with it.
func TestReleasedMemoryIsReadToItsEnd(t *testing.T) {
	ranks.Run(t, 2, ranks.Options{ISA: "portable"}, func(r *ranks.Rank) error {
		mesh, err := dtensor.NewMesh(2, dtensor.Axis{Name: Axis, Size: 2})
		if err != nil {
			return err
		}
		g, err := grid.New(mesh, r.World)
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
		times := func(by float32) *tensor.Tensor { // a term of every rank: by times 1 to 4
			dst := rig.Empty(dtype.Float32, 4, 1)
			a, b := tensor.Operand{Tensor: rig.Put([]float32{1, 2, 3, 4}, 4, 1)}, tensor.Operand{Tensor: rig.Put([]float32{by}, 1, 1)}
			multiplier{o, nn.GradInput}.multiply(c, nn.GradInput, dst, a, b, device.MatMulOptions{})
			return dst
		}
		first, second := times(1), times(10)
		sums := func(term *tensor.Tensor, late time.Duration) *tensor.Tensor {
			own, ok := o.scatter(c, term)
			if !ok {
				t.Error("no rows leave")
			}
			host.Call("late", func() error { time.Sleep(late); return nil })
			read := rig.Empty(dtype.Float32, 2, 1)
			c.Stream.Copy(read, own)
			o.release(c, own)
			return read
		}
		a, b := sums(first, 200*time.Millisecond), sums(second, 0)
		got := slices.Concat(rig.Get(a), rig.Get(b))
		want := [][]float32{{2, 4, 20, 40}, {6, 8, 60, 80}}[r.Rank]
		if !slices.Equal(got, want) {
			t.Errorf("rank %d reads sums %v, want %v", r.Rank, got, want)
		}
		return o.Sync()
	})
}
