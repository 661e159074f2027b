// SPDX-License-Identifier: Apache-2.0

package tp

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"octet/comm"
	"octet/comm/grid"
	comms "octet/comm/null"
	"octet/dtensor"
	"octet/dtype"
	"octet/nn"
	"octet/nn/nntest"
	"octet/tensor"
	"octet/test/ranks"
)

var whole, rows, part = dtensor.Replicate(), dtensor.Shard(0), dtensor.Shard(-1)

// example is a module that ranks compute together, from an input in one layout to an output in
// another.
type example struct {
	build   func() nn.Module
	x       []int // shape; of ids [B,S]
	vocab   int   // 0: no ids
	plan    Plan
	in, out dtensor.Placement
	width   int // of the output
	ranks   []int
}

// pass is what came of an example on one rank.
type pass struct {
	y, dx []float32
	grads map[string][]float32
}

func linear(k, n int) *nn.Linear {
	return nn.NewLinear(k, n, nn.LinearOptions{Init: nn.Normal(0.5), Bias: true})
}

func attention(heads, kv int) nn.Module {
	const dim, head = 6, 2
	return &nn.Attention{
		WQ: linear(dim, heads*head), WK: linear(dim, kv*head), WV: linear(dim, kv*head), WO: linear(heads*head, dim),
		HeadDim: head, RoPE: &nn.RoPE{HeadDim: head, MaxSeq: 8, Theta: 100},
	}
}

func sequential(modules ...nn.Module) nn.Module {
	s := &nn.Sequential{Modules: modules}
	for i := range modules {
		s.Names = append(s.Names, fmt.Sprint("m", i))
	}
	return s
}

// alone has all ranks along the tensor axis.
func alone(world comm.Comm) (*grid.Grid, error) {
	mesh, err := dtensor.NewMesh(world.Size(), dtensor.Axis{Name: Axis, Size: world.Size()})
	if err != nil {
		return nil, err
	}
	return grid.New(mesh, world)
}

func named(m nn.Module) nn.Module {
	return &nn.Sequential{Names: []string{"m"}, Modules: []nn.Module{m}}
}

// examples are all styles with all their layouts.
func examples() map[string]example {
	all := map[string]example{}
	two := func() nn.Module { return sequential(linear(6, 7), linear(7, 6)) }
	add := func(name string, e example) {
		if e.width == 0 {
			e.width = 6
		}
		if e.ranks == nil {
			e.ranks = []int{2, 3, 4}
		}
		all[name] = e
	}
	for _, w := range ways[colwise] {
		e := example{build: func() nn.Module { return named(linear(6, 7)) }, x: []int{3, 4, 6}, width: 7, in: w.from, out: w.to,
			plan: Plan{{"m", ColwiseParallel(InputLayouts(w.from), OutputLayouts(w.to))}}}
		add(fmt.Sprint("column-parallel linear ", w), e)
	}
	for _, w := range ways[rowwise] {
		e := example{build: func() nn.Module { return named(linear(7, 5)) }, x: []int{3, 4, 7}, width: 5, in: w.from, out: w.to,
			plan: Plan{{"m", RowwiseParallel(InputLayouts(w.from), OutputLayouts(w.to))}}}
		add(fmt.Sprint("row-parallel linear ", w), e)
	}
	for _, out := range []dtensor.Placement{part, whole} {
		add(fmt.Sprint("column-parallel embedding to ", out), example{build: func() nn.Module { return named(nn.NewEmbedding(9, 6, nn.Normal(1))) }, x: []int{3, 4}, vocab: 9, in: whole, out: out,
			plan: Plan{{"m", ColwiseParallel(OutputLayouts(out))}}})
	}
	for _, out := range []dtensor.Placement{rows, whole} {
		add(fmt.Sprint("row-parallel embedding to ", out), example{build: func() nn.Module { return named(nn.NewEmbedding(9, 6, nn.Normal(1))) }, x: []int{3, 4}, vocab: 9, in: whole, out: out,
			plan: Plan{{"m", RowwiseParallel(InputLayouts(whole), OutputLayouts(out))}}})
	}
	for _, w := range ways[prepareOutput] {
		if w.from != part {
			add(fmt.Sprint("a prepared output ", w), example{build: func() nn.Module { return sequential(nn.NewGELU(), nn.NewGELU()) }, x: []int{3, 4, 6}, in: w.from, out: w.to,
				plan: Plan{{"m0", PrepareModuleOutput(w.from, w.to)}}})
		}
	}
	add("a column's output made whole behind an activation", example{build: func() nn.Module { return sequential(linear(6, 7), nn.NewGELU(), linear(7, 6)) }, x: []int{3, 4, 6}, in: whole, out: whole,
		plan: Plan{{"m0", ColwiseParallel(OutputLayouts(whole))}, {"m2", ColwiseParallel(OutputLayouts(whole))}}})
	add("columns, then rows", example{build: two, x: []int{3, 4, 6}, in: whole, out: whole,
		plan: Plan{{"m0", ColwiseParallel()}, {"m1", RowwiseParallel()}}})
	add("norms by rows", example{build: func() nn.Module { return sequential(nn.NewRMSNorm(6, 1e-5), nn.NewLayerNorm(6, 1e-5)) }, x: []int{3, 4, 6}, in: rows, out: rows,
		plan: Plan{{"m*", SequenceParallel()}}})
	add("rows, then a norm whose input backward reads", example{build: func() nn.Module { return sequential(linear(7, 6), nn.NewRMSNorm(6, 1e-5)) }, x: []int{3, 4, 7}, in: part, out: rows,
		plan: Plan{{"m0", RowwiseParallel(OutputLayouts(rows))}, {"m1", SequenceParallel()}}})
	feedForward := func() nn.Module {
		return named(&nn.FeedForward{W1: linear(6, 9), W2: linear(9, 6), W3: linear(6, 9)})
	}
	for _, at := range []dtensor.Placement{whole, rows} {
		add(fmt.Sprint("a feed-forward between ", at), example{build: feedForward, x: []int{3, 4, 6}, in: at, out: at,
			plan: Plan{{"m", PrepareModuleInput(at, whole)}, {"m.w[13]", ColwiseParallel()}, {"m.w2", RowwiseParallel(OutputLayouts(at))}}})
		plan := Plan{{"m", PrepareModuleInput(at, whole)}, {"m.w[qkv]", ColwiseParallel()}, {"m.wo", RowwiseParallel(OutputLayouts(at))}}
		add(fmt.Sprint("attention of 4 heads between ", at), example{build: func() nn.Module { return named(attention(4, 2)) }, x: []int{3, 4, 6}, in: at, out: at, plan: plan, ranks: []int{2}})
		add(fmt.Sprint("attention of 3 heads between ", at), example{build: func() nn.Module { return named(attention(3, 3)) }, x: []int{3, 4, 6}, in: at, out: at, plan: plan, ranks: []int{3}})
	}
	return all
}

// TestStylesComputeWhatOneRankDoes: outputs, gradients of inputs and of parameters, forward and
// backward of each style with each of its layouts, with dimensions that do not divide.
func TestStylesComputeWhatOneRankDoes(t *testing.T) {
	for name, e := range examples() {
		t.Run(name, func(t *testing.T) {
			for _, again := range []func(nn.Module) nn.Module{nil, recomputed(nn.KeepInput), recomputed(nn.KeepCostly)} {
				want := e.run(t, 1, again, false)[0]
				for _, n := range e.ranks {
					plain, apart := e.run(t, n, again, false), e.run(t, n, again, true)
					for rank, got := range plain {
						e.compare(t, n, rank, got, want)
						if !reflect.DeepEqual(apart[rank], got) {
							t.Errorf("rank %d of %d: collectives beside products change bits", rank, n)
						}
					}
				}
			}
		})
	}
}

func recomputed(keep nn.Keep) func(nn.Module) nn.Module {
	return func(m nn.Module) nn.Module { return nn.Recompute(m, keep) }
}

// run is the example on n ranks.
func (e example) run(t *testing.T, n int, decorate func(nn.Module) nn.Module, apart bool) []pass {
	t.Helper()
	passes := make([]pass, n)
	ranks.Run(t, n, ranks.Options{ISA: "portable"}, func(r *ranks.Rank) error {
		m, rig := e.build(), nntest.New(t, r.Device, dtype.Float32)
		nn.AssignNames(m)
		var partial Partial
		if n > 1 {
			g, err := alone(r.World)
			if err != nil {
				return err
			}
			var o *Overlap
			if apart {
				if o, err = NewOverlap(g, r.Device); err != nil {
					return err
				}
				defer func() {
					if err := o.Sync(); err != nil || len(o.coming)+len(o.leaving) > 0 {
						t.Errorf("%d values are coming, %d leave (%v)", len(o.coming), len(o.leaving), err)
					}
				}()
			}
			if partial, err = e.plan.Apply(&m, g, o); err != nil {
				return err
			}
		}
		rig.Load(m, func(p *nn.Param) []float32 { return drawn(p) })
		if decorate != nil {
			m = decorate(m)
		}
		rig.Ctx.Tokens = e.x[:2]
		x := e.input(rig, n, r.Rank)
		y := m.Forward(rig.Ctx, x)
		got := pass{y: rig.Get(y.Value.Tensor), grads: map[string][]float32{}}
		outs := []int{e.x[0], e.x[1], e.width}
		dy := cutOf(random(2, outs), outs, e.out, n, r.Rank)
		rig.Backward(m, y, dy)
		for name, p := range nn.Parameters(m) {
			got.grads[name] = rig.Grad(p)
		}
		for _, p := range partial {
			g := rig.Put(got.grads[p.Name], len(got.grads[p.Name]))
			r.World.AllReduce(rig.Ctx.Stream, comm.T(g), comm.Sum)
			got.grads[p.Name] = rig.Get(g)
		}
		if e.vocab == 0 {
			got.dx = rig.Get(x.Grad().Tensor)
			x.FreeGrad(rig.Ctx)
		}
		if live := rig.Ctx.Pool.Live(); live != 0 {
			return fmt.Errorf("%d bytes are left", live)
		}
		passes[r.Rank] = got
		return nil
	})
	if t.Failed() {
		t.FailNow()
	}
	return passes
}

// input is the rank's part of x.
func (e example) input(rig *nntest.Rig, n, rank int) *nn.Var {
	if e.vocab > 0 {
		ids, source := make([]int32, tensor.Numel(e.x)), rand.New(rand.NewPCG(1, 1))
		for i := range ids {
			ids[i] = int32(source.IntN(e.vocab))
		}
		return nn.Input(rig.IDs(ids, e.x...))
	}
	x := cutOf(random(1, e.x), e.x, e.in, n, rank)
	shape := append([]int(nil), e.x...)
	switch {
	case e.in == rows && n > 1:
		shape = []int{len(x) / e.x[2], e.x[2]}
	case e.in == part:
		shape[2] = len(x) / (e.x[0] * e.x[1])
	}
	return nn.Watch(rig.Put(x, shape...))
}

// drawn is the rank's part of a parameter.
func drawn(p *nn.Param) []float32 {
	box := p.Box()
	shape := p.Shape
	if box.Lo == nil {
		box = dtensor.Whole(shape)
	} else {
		shape = p.Like("", nil).Layout.Shape()
	}
	return cutBox(filled(p, shape), shape, box)
}

func filled(p *nn.Param, shape []int) []float32 {
	values := make([]float32, tensor.Numel(shape))
	init := p.Init
	if init.Std == 0 {
		init = nn.Normal(1)
	}
	init.Fill(values, 5, p.Name, 0)
	return values
}

func cutBox(values []float32, shape []int, box dtensor.Box) []float32 {
	out := make([]float32, box.Numel())
	box.Overlap(dtensor.Whole(shape), func(to, from, n int) { copy(out[to:to+n], values[from:from+n]) })
	return out
}

// cutOf is the part of values [..., D] that a rank has.
func cutOf(values []float32, shape []int, at dtensor.Placement, n, rank int) []float32 {
	last := len(shape) - 1
	flat := []int{tensor.Numel(shape[:last]), shape[last]}
	mesh, err := dtensor.NewMesh(n, dtensor.Axis{Name: Axis, Size: n})
	if err != nil {
		panic(err)
	}
	return cutBox(values, flat, dtensor.NewLayout(mesh, flat).Place(Axis, at).Box(rank))
}

func random(seed uint64, shape []int) []float32 {
	source := rand.New(rand.NewPCG(seed, 7))
	x := make([]float32, tensor.Numel(shape))
	for i := range x {
		x[i] = float32(source.NormFloat64())
	}
	return x
}

// compare compares a rank's pass with its part of that of one rank.
func (e example) compare(t *testing.T, n, rank int, got, want pass) {
	t.Helper()
	near := func(what string, got, want []float32) {
		t.Helper()
		if len(got) == 0 && len(want) == 0 { // a rank may have no part
			return
		}
		if d := nntest.Off(got, want); !(d < 1e-5) {
			t.Errorf("rank %d of %d: %s is off by %.2g", rank, n, what, d)
		}
	}
	near("the output", got.y, cutOf(want.y, []int{e.x[0], e.x[1], e.width}, e.out, n, rank))
	if e.vocab == 0 {
		near("the gradient of the input", got.dx, cutOf(want.dx, e.x, e.in, n, rank))
	}
	m := e.build()
	nn.AssignNames(m)
	mesh, _ := dtensor.NewMesh(n, dtensor.Axis{Name: Axis, Size: n})
	a := e.plan
	if _, err := a.apply(&m, mesh, rank, group{Comm: comms.New(rank, n)}); err != nil {
		t.Fatal(err)
	}
	for name, p := range nn.Parameters(m) {
		g := want.grads[name]
		if box := p.Box(); box.Lo != nil {
			g = cutBox(g, p.Like("", nil).Layout.Shape(), box)
		}
		near("the gradient of "+name, got.grads[name], g)
	}
}

// TestARunAgainHasItsOwnTokens: of two batches of unlike shapes, forward of both comes before backward of
// either.
func TestARunAgainHasItsOwnTokens(t *testing.T) {
	ranks.Run(t, 2, ranks.Options{}, func(r *ranks.Rank) error {
		rig := nntest.New(t, r.Device, dtype.Float32)
		m := named(attention(4, 2))
		g, err := alone(r.World)
		if err != nil {
			return err
		}
		plan := Plan{{"m", PrepareModuleInput(rows, whole)}, {"m.w[qkv]", ColwiseParallel()}, {"m.wo", RowwiseParallel(OutputLayouts(rows))}}
		if _, err := plan.Apply(&m, g, nil); err != nil {
			return err
		}
		rig.Load(m, drawn)
		m = nn.Recompute(m, nn.KeepInput)
		gradient := func(shapes ...[]int) []float32 {
			var ys, xs []*nn.Var
			for _, shape := range shapes {
				rig.Ctx.Tokens = shape
				x := cutOf(random(4, []int{12, 6}), []int{12, 6}, rows, 2, r.Rank)
				xs = append(xs, nn.Watch(rig.Put(x, 6, 6)))
				ys = append(ys, m.Forward(rig.Ctx, xs[len(xs)-1]))
			}
			for _, y := range ys {
				dy := rig.Ctx.New(y.Shape()...)
				rig.Ctx.Stream.Copy(dy, y.Value.Tensor)
				y.SetGrad(dy)
			}
			rig.Ctx.Tape.Backward()
			return rig.Get(xs[0].Grad().Tensor)
		}
		want := gradient([]int{3, 4})
		if got := gradient([]int{3, 4}, []int{2, 6}); nntest.Off(got, want) != 0 {
			return fmt.Errorf("the gradient of the first is off by %.2g", nntest.Off(got, want))
		}
		return nil
	})
}
