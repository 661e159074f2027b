// SPDX-License-Identifier: Apache-2.0

package tp

import (
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
	d := &decorated{inner: m}
	if s.kind == rowwise {
		l.Reduce = a.reduced(s.out)
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
	d.in, d.out = a.entered(s.in), a.columnsOut(s.out, whole[0])
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
		return &decorated{inner: m, out: a.columnsOut(s.out, whole[1])}, nil
	}
	e.Offset, e.Vocab = e.Weight.Box().Lo[0], whole[0]
	return &decorated{inner: m, out: a.reduced(s.out)}, nil
}

// reduced makes a sum of terms that each rank has one of.
func (a *application) reduced(to dtensor.Placement) func(c *nn.Ctx, x *nn.Var) *nn.Var {
	reduce := a.sum
	if to == dtensor.Shard(0) {
		reduce = a.scatterSum
	}
	return reduce
}

// entered makes the input of a layer whose outputs are cut, unless what is around has.
func (a *application) entered(from dtensor.Placement) func(c *nn.Ctx, x *nn.Var) *nn.Var {
	return func(c *nn.Ctx, x *nn.Var) *nn.Var {
		switch {
		case x.Pending:
			return x
		case from == dtensor.Shard(0):
			return a.gather(c, x)
		}
		return a.enter(c, x)
	}
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
			k := columns{a.group, x.Slice.Of}
			return k.whole(c, x)
		}
		return columns{a.group, x.Shape()[len(x.Shape())-1]}.own(c, x)
	}
}
