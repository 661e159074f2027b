// SPDX-License-Identifier: Apache-2.0

package parallel_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"octet/backend"
	"octet/comm"
	"octet/comm/grid"
	"octet/comm/slow"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/fsdp"
	"octet/nn"
	"octet/test/ranks"
	"octet/tp"
)

// pair is a column-parallel and a row-parallel layer on one of two ranks, between rows of 2048 tokens.
type pair struct {
	model   nn.Module
	sharded *fsdp.FSDP
	ctx     *nn.Ctx
}

const pairTokens, pairDim, pairHidden = 2048, 1024, 4096

// newPair makes it over a world, which may be slow.
func newPair(dev device.Device, world comm.Comm, act dtype.Type, apart bool) (*pair, error) {
	linear := func(in, out int) nn.Module { return nn.NewLinear(in, out, nn.LinearOptions{Init: nn.Normal(0.02)}) }
	p := &pair{model: &nn.Sequential{Names: []string{"up", "down"}, Modules: []nn.Module{linear(pairDim, pairHidden), linear(pairHidden, pairDim)}}}
	mesh, err := dtensor.NewMesh(2, dtensor.Axis{Name: fsdp.Axis, Size: 1}, dtensor.Axis{Name: tp.Axis, Size: 2})
	if err != nil {
		return nil, err
	}
	g, err := grid.New(mesh, world)
	if err != nil {
		return nil, err
	}
	nn.AssignNames(p.model)
	var o *tp.Overlap
	if apart {
		if o, err = tp.NewOverlap(g, dev); err != nil {
			return nil, err
		}
	}
	rows := dtensor.Shard(0)
	plan := tp.Plan{tp.For("up", tp.ColwiseParallel(tp.InputLayouts(rows))), tp.For("down", tp.RowwiseParallel(tp.OutputLayouts(rows)))}
	if _, err := plan.Apply(&p.model, g, o); err != nil {
		return nil, err
	}
	if p.sharded, err = fsdp.Shard(&p.model, g, fsdp.Options{Param: act, Reshard: fsdp.ReshardNever}, func(string, nn.Module) bool { return false }); err != nil {
		return nil, err
	}
	if err := p.sharded.Allocate(dev); err != nil {
		return nil, err
	}
	p.ctx = &nn.Ctx{Stream: dev.NewStream("compute"), Pool: device.NewPool(dev), Tape: &nn.Tape{}, Act: act, Tokens: []int{1, pairTokens}}
	for _, param := range p.sharded.Params() {
		param.Draw(p.ctx.Stream, 1)
	}
	return p, p.ctx.Stream.Sync()
}

// pass is forward and backward.
func (p *pair) pass() error {
	c := p.ctx
	x := c.New(pairTokens/2, pairDim)
	c.Stream.Zero(x)
	p.sharded.Begin(c, true)
	in := nn.Watch(x)
	y := p.model.Forward(c, in)
	dy := c.New(y.Shape()...)
	c.Stream.Zero(dy)
	y.SetGrad(dy)
	c.Tape.Backward()
	p.sharded.Finish(c)
	in.FreeGrad(c)
	c.Pool.Free(x)
	return errors.Join(c.Stream.Sync(), p.sharded.Sync())
}

// BenchmarkAsyncTensor measures how much of the time on an emulated wire of 1 GB/s and 1 ms goes beside products: forward and backward of
// [2048,1024]·[1024,4096]·[4096,1024] on two ranks, in turns: without a wire (free), with one (plain), with one and
// tp.Overlap (async), and with that without a wire (pieces), medians. hidden is 1 - (async - free)/(plain - free).
// Each turn has ranks of its own: how fast memory is that a process was given differs by more than what is measured.
func BenchmarkAsyncTensor(b *testing.B) {
	for _, act := range []dtype.Type{dtype.Float32, dtype.BFloat16} {
		b.Run(act.String(), func(b *testing.B) {
			settings := []*setting{{}, {wire: true}, {wire: true, apart: true}, {apart: true}}
			for turn := 0; b.Loop(); turn++ {
				for i := range settings { // none is always after the same other
					settings[(turn+i)%len(settings)].turn(b, act)
				}
			}
			free, plain, async, pieces := settings[0].ms(), settings[1].ms(), settings[2].ms(), settings[3].ms()
			b.ReportMetric(pieces, "ms/pieces")
			b.ReportMetric(free, "ms/free")
			b.ReportMetric(plain, "ms/plain")
			b.ReportMetric(async, "ms/async")
			b.ReportMetric(100*(1-(async-free)/(plain-free)), "%hidden")
		})
	}
}

// setting is what a pass is measured with.
type setting struct {
	wire, apart bool
	took        []time.Duration
}

// turn takes the time of a pass, after two for first memory.
func (s *setting) turn(b *testing.B, act dtype.Type) {
	all, err := backend.Local(2, backend.Options{Device: "cpu", Timeout: ranks.Timeout})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		for _, r := range all {
			if err := r.Close(); err != nil {
				b.Error(err)
			}
		}
	}()
	var pairs [2]*pair
	together := func(f func(r *ranks.Rank) error) {
		if err := errors.Join(ranks.Each(all, f)...); err != nil {
			b.Fatal(err)
		}
	}
	together(func(r *ranks.Rank) (err error) {
		world := r.World
		if s.wire {
			world = slow.New(world, slow.NewLink(time.Millisecond, 1e9))
		}
		pairs[r.Rank], err = newPair(r.Device, world, act, s.apart)
		return err
	})
	pass := func(r *ranks.Rank) error { return pairs[r.Rank].pass() }
	together(pass)
	together(pass)
	start := time.Now()
	together(pass)
	s.took = append(s.took, time.Since(start))
}

// ms is the median.
func (s *setting) ms() float64 {
	slices.Sort(s.took)
	return s.took[len(s.took)/2].Seconds() * 1e3
}
