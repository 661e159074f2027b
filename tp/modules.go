// SPDX-License-Identifier: Apache-2.0

package tp

import (
	"fmt"
	"slices"

	"octet/comm"
	"octet/dtensor"
	"octet/nn"
)

// linear cuts a Linear.
func (a *application) linear(s Style, m nn.Module, l *nn.Linear) (nn.Module, error) {
	weight, bias := s.kind.weights(l)
	whole, err := a.split(l.Weight, weight)
	if err != nil {
		return m, err
	}
	d := &decorated{group: a.group, inner: m}
	if s.kind == rowwise {
		spread(l, a, nn.In, nn.Weight)
		l.Reduce = a.reduced(s.out, l)
		leaves := nn.NumMatMuls // none: all-reduced rows lie as they do
		if s.out == dtensor.Shard(0) {
			leaves = nn.Output
		}
		a.pipeline(l, leaves)
		if l.Bias != nil && s.out == dtensor.Shard(0) {
			a.add(l.Bias)
		}
		if s.in == dtensor.Replicate() {
			d.in = columns{a.group, whole[1]}.own
			return d, nil
		}
		return m, nil
	}
	if l.Bias != nil {
		if _, err := a.split(l.Bias, bias); err != nil {
			return m, err
		}
	}
	spread(l, a, nn.Weight, nn.GradOut)
	if s.in == dtensor.Replicate() {
		a.readers = append(a.readers, l)
	}
	d.in, d.out = a.entered(s.in, []*nn.Linear{l}), a.columnsOut(s.out, whole[0])
	return d, nil
}

// embedding cuts a table: its columns, or its vocabulary.
func (a *application) embedding(s Style, m nn.Module, e *nn.Embedding) (nn.Module, error) {
	weight, _ := s.kind.weights(e)
	whole, err := a.split(e.Weight, weight)
	if err != nil {
		return m, err
	}
	if s.kind == colwise {
		return &decorated{group: a.group, inner: m, out: a.columnsOut(s.out, whole[1])}, nil
	}
	e.Offset, e.Vocab = e.Weight.Box().Lo[0], whole[0]
	return &decorated{group: a.group, inner: m, out: a.reduced(s.out, nil)}, nil
}

// pipeline has a Linear compute by the rows that come, and those of one of its products that leave.
func (a *application) pipeline(l *nn.Linear, leaves nn.MatMul) {
	if a.overlap != nil {
		l.Multiply = multiplier{a.overlap, leaves}.multiply
	}
}

// spread says to a caster what of its Linear is a part.
func spread(l *nn.Linear, g comm.Comm, roles ...nn.Role) {
	if by, ok := l.Caster.(nn.Spreader); ok {
		by.Spread(g, roles...)
	}
}

// reduced makes a sum of the terms that each rank has, of a Linear or of a table.
func (a *application) reduced(to dtensor.Placement, of *nn.Linear) func(c *nn.Ctx, x *nn.Var) *nn.Var {
	if to == dtensor.Replicate() {
		return a.sum
	}
	return func(c *nn.Ctx, x *nn.Var) *nn.Var { return a.scatterSum(c, x, of) }
}

// entered makes the input of layers whose outputs are cut, unless what is around has.
func (a *application) entered(from dtensor.Placement, readers []*nn.Linear) func(c *nn.Ctx, x *nn.Var) *nn.Var {
	if from == dtensor.Shard(0) {
		for _, l := range readers {
			a.pipeline(l, nn.GradInput)
		}
	}
	return func(c *nn.Ctx, x *nn.Var) *nn.Var {
		switch {
		case x.Pending:
			return x
		case from == dtensor.Shard(0):
			return a.gather(c, x, readers)
		}
		return a.enter(c, x)
	}
}

// below are the layers in m that read what is prepared for it.
func (a *application) below(m nn.Module) (readers []*nn.Linear) {
	_ = nn.Walk(&m, func(_ string, m nn.Module) (nn.Module, error) {
		if l, ok := nn.Base(m).(*nn.Linear); ok && slices.Contains(a.readers, l) {
			readers = append(readers, l)
		}
		return m, nil
	})
	return readers
}

// columnsOut is the output of a layer whose outputs are cut, of n altogether.
func (a *application) columnsOut(to dtensor.Placement, n int) func(c *nn.Ctx, x *nn.Var) *nn.Var {
	k := columns{a.group, n}
	if to == dtensor.Replicate() {
		return k.whole
	}
	return func(_ *nn.Ctx, y *nn.Var) *nn.Var {
		lo, _ := k.part(k.Rank())
		y.Slice = &nn.Slice{Offset: lo, Of: n, Group: k.Comm}
		return y
	}
}

// changed makes another layout of an output.
func (a *application) changed(s Style) func(c *nn.Ctx, x *nn.Var) *nn.Var {
	switch (way{s.in, s.out}) {
	case way{dtensor.Shard(0), dtensor.Replicate()}:
		return a.leave
	case way{dtensor.Replicate(), dtensor.Shard(0)}:
		return a.scatter
	}
	return func(c *nn.Ctx, x *nn.Var) *nn.Var {
		if s.out == dtensor.Replicate() {
			if x.Slice == nil {
				panic(fmt.Sprintf("tp: PrepareModuleOutput makes a value %v whole that is not one of ColwiseParallel", x.Shape()))
			}
			return columns{a.group, x.Slice.Of}.whole(c, x)
		}
		return columns{a.group, x.Shape()[len(x.Shape())-1]}.own(c, x)
	}
}
