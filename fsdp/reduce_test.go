// SPDX-License-Identifier: Apache-2.0

package fsdp_test

import (
	"slices"
	"testing"

	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// exchange is a comm.Reduction of another kind: every rank gets the others' parts
// of its rows and adds them in rank order, as one that travels in float8 would.
type exchange struct{}

func (exchange) Reduce(s device.Stream, pool *device.Pool, g comm.Comm, dst, src []*tensor.Tensor) {
	parts := make([]*tensor.Tensor, len(src))
	for i, t := range src {
		parts[i] = pool.New(t.Type, t.Shape...)
	}
	g.AllToAll(s, parts, src)
	for i, t := range parts {
		rows := dst[i].Shape[0]
		s.Copy(dst[i], t.Rows(0, rows))
		for q := 1; q < g.Size(); q++ {
			s.Add(dst[i], dst[i], t.Rows(q*rows, (q+1)*rows))
		}
		pool.Free(t)
	}
}

// TestAReductionIsAValue: sums that ranks make themselves have the bits of the
// reduce-scatter's, over microbatches and rows that do not divide.
func TestAReductionIsAValue(t *testing.T) {
	for _, ranks := range []int{1, 2, 3} {
		j := job{ranks: ranks, args: uneven, options: f32, batch: 12, micro: 2, steps: 4}
		scattered := run(t, j)
		j.options.Reduce = exchange{}
		exchanged := run(t, j)
		sameBits(t, "an all-to-all and sums in rank order", scattered, exchanged)
		if n := exchanged[0].log.Count(comm.ReduceScatter, dtype.Float32).Calls; n != 0 {
			t.Errorf("%d ranks: %d reduce-scatters beside the reduction", ranks, n)
		}
		if n := exchanged[0].log.Count(comm.AllToAll, dtype.Float32).Calls; n == 0 {
			t.Errorf("%d ranks: the reduction was not used", ranks)
		}
	}
}

// TestAMicrobatchKeepsItsOrder: where another one begins between its forward and
// its backward, as in a pipeline, its units are gathered in backward as ever, one
// ahead of the one that runs.
func TestAMicrobatchKeepsItsOrder(t *testing.T) {
	j := job{ranks: 1, args: sixteens, options: f32, batch: 1, steps: 1}
	calls := func(begin bool) (kinds []string) {
		w := run(t, j)[0]
		c := w.c
		ids, targets := c.Pool.New(dtype.Int32, 1, seqLen), c.Pool.New(dtype.Int32, 1, seqLen)
		in, out := w.tokens(1, 0, 1)
		c.Stream.Upload(ids, device.Int32Bytes(in))
		c.Stream.Upload(targets, device.Int32Bytes(out))
		scale := c.Pool.New(dtype.Float32, 1)
		c.Stream.Upload(scale, device.Float32Bytes([]float32{1}))
		w.f.BeginForward(c)
		logits := w.model.Forward(c, nn.Input(ids))
		if begin {
			w.f.BeginForward(c)
		}
		w.log.Take()
		nn.CrossEntropy(c, w.loss, logits, targets, scale)
		c.Tape.Backward()
		w.f.Finish(c)
		for _, call := range w.log.Take() {
			kinds = append(kinds, call.Kind.String())
		}
		w.mustGet(t, w.loss)
		return kinds
	}
	alone, between := calls(false), calls(true)
	if !slices.Equal(alone, between) || len(alone) < 6 {
		t.Errorf("backward calls %v, with another microbatch begun %v", alone, between)
	}
}
