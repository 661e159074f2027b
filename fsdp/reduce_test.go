// SPDX-License-Identifier: Apache-2.0

package fsdp_test

import (
	"slices"
	"testing"

	"octet/comm"
	"octet/comm/grid"
	"octet/comm/record"
	"octet/device"
	"octet/dtype"
	"octet/fsdp"
	"octet/models/llama"
	"octet/nn"
	"octet/nn/nntest"
	"octet/tensor"
	"octet/test/ranks"
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
	for _, n := range []int{1, 2, 3} {
		j := job{ranks: n, args: uneven, options: f32, batch: 12, micro: 2, steps: 4}
		scattered := run(t, j)
		j.options.Reduce = exchange{}
		exchanged := run(t, j)
		sameBits(t, "an all-to-all and sums in rank order", scattered, exchanged)
		if calls := exchanged[0].log.Count(comm.ReduceScatter, dtype.Float32).Calls; calls != 0 {
			t.Errorf("%d ranks: %d reduce-scatters beside the reduction", n, calls)
		}
		if calls := exchanged[0].log.Count(comm.AllToAll, dtype.Float32).Calls; calls == 0 {
			t.Errorf("%d ranks: the reduction was not used", n)
		}
	}
}

// TestAMicrobatchKeepsItsOrder: where another one begins between its forward and
// its backward, as in a pipeline, its units are gathered in backward as ever, one
// ahead of the one that runs.
func TestAMicrobatchKeepsItsOrder(t *testing.T) {
	calls := func(begin bool) (kinds []string) {
		log := &record.Log{Keep: true}
		ranks.Run(t, 1, ranks.Options{}, func(rank *ranks.Rank) error {
			r := nntest.New(t, rank.Device, dtype.Float32)
			var model nn.Module = llama.New(sixteens, seqLen)
			f, err := fsdp.Shard(&model, grid.Line(record.New(rank.World, log), fsdp.Axis), f32, func(path string, _ nn.Module) bool {
				return slices.Contains([]string{"tok_embeddings", "layers.0", "layers.1", "norm+output"}, path)
			})
			if err != nil {
				return err
			}
			if err := f.Allocate(rank.Device); err != nil {
				return err
			}
			for _, p := range f.Params() {
				p.Draw(r.Ctx.Stream, 1)
			}
			ids := r.IDs([]int32{3, 1, 4, 1, 5, 9, 2, 6}, 1, seqLen)
			r.Loss(1)
			for step := range 2 { // the second knows the order of the units
				f.Begin(r.Ctx, true)
				logits := model.Forward(r.Ctx, nn.Input(ids))
				if begin && step == 1 {
					f.Begin(r.Ctx, true)
				}
				log.Take()
				nn.CrossEntropy(r.Ctx, logits, ids)
				r.Ctx.Tape.Backward()
				f.Finish(r.Ctx)
			}
			return f.Sync()
		})
		for _, call := range log.Take() {
			kinds = append(kinds, call.Kind.String())
		}
		return kinds
	}
	alone, between := calls(false), calls(true)
	if !slices.Equal(alone, between) || len(alone) < 6 {
		t.Errorf("backward calls %v, with another microbatch begun %v", alone, between)
	}
}
