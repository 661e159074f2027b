// SPDX-License-Identifier: Apache-2.0

package tp

import (
	"fmt"
	"slices"
	"testing"

	"octet/comm/record"
	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/nn/nntest"
	"octet/test/ranks"
)

// TestWhatTravelsBesideProducts: rows come in one collective, as each has a latency; an output's leave in two, of which only the smaller one
// has nothing beside it; a gradient's in one, because the weight's product follows.
func TestWhatTravelsBesideProducts(t *testing.T) {
	want := []string{
		"all-gather [{float32 48}]",     // x, of which a rank has 8 rows of 6
		"all-gather [{float32 48}]",     // the output's rows of the other rank
		"all-gather [{float32 48}]",     // the output's gradient
		"reduce-scatter [{float32 96}]", // the input's gradient
	}
	ranks.Run(t, 2, ranks.Options{ISA: "portable"}, func(r *ranks.Rank) error {
		log := &record.Log{}
		g, err := alone(record.New(r.World, log))
		if err != nil {
			return err
		}
		o, err := NewOverlap(g, r.Device)
		if err != nil {
			return err
		}
		m, rig := sequential(linear(6, 8), linear(8, 6)), nntest.New(t, r.Device, dtype.Float32)
		nn.AssignNames(m)
		plan := Plan{{"m0", ColwiseParallel(InputLayouts(rows))}, {"m1", RowwiseParallel(OutputLayouts(rows))}}
		if _, err := plan.Apply(&m, g, o); err != nil {
			return err
		}
		rig.Load(m, drawn)
		log.Keep = true
		rig.Ctx.Tokens = []int{2, 8}
		x := nn.Watch(rig.Put(random(1, []int{8, 6}), 8, 6))
		rig.Backward(m, m.Forward(rig.Ctx, x), random(2, []int{8, 6}))
		var got []string
		for _, call := range log.Take() {
			got = append(got, fmt.Sprint(call.Kind, " ", call.Parts))
		}
		if !slices.Equal(got, want) {
			t.Errorf("rank %d: %q, want %q", r.Rank, got, want)
		}
		x.FreeGrad(rig.Ctx)
		return o.Sync()
	})
}

// TestAReceivedGradientIsAdded to the one that is there, and its memory freed.
func TestAReceivedGradientIsAdded(t *testing.T) {
	ranks.Run(t, 1, ranks.Options{ISA: "portable"}, func(r *ranks.Rank) error {
		rig := nntest.New(t, r.Device, dtype.Float32)
		c := rig.Ctx
		x := nn.Watch(rig.Put([]float32{0, 0}, 2, 1))
		for _, by := range []float32{1, 10} {
			own := c.Pool.New(dtype.Float32, 2, 1)
			c.Stream.Upload(own, device.Float32Bytes([]float32{by, 2 * by}))
			receive(c, x, own)
		}
		if got, want := rig.Get(x.Grad().Tensor), []float32{11, 22}; !slices.Equal(got, want) {
			t.Errorf("the gradient is %v, want %v", got, want)
		}
		if x.FreeGrad(c); c.Pool.Live() != 0 {
			t.Errorf("%d bytes are left", c.Pool.Live())
		}
		return nil
	})
}
