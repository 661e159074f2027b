// SPDX-License-Identifier: Apache-2.0

package tp

import (
	"fmt"
	"slices"

	"octet/dtensor"
	"octet/nn"
)

// Style is how the ranks of an axis share a module: one of torch.distributed.tensor.parallel's.
type Style struct {
	kind
	in, out dtensor.Placement // what the module is given, and what it or, of a Prepare style, its module gets or returns
}

type kind uint8

const (
	colwise kind = iota
	rowwise
	sequence
	prepareInput
	prepareOutput
)

var names = [...]string{"ColwiseParallel", "RowwiseParallel", "SequenceParallel", "PrepareModuleInput", "PrepareModuleOutput"}

// Option changes a layout of a style.
type Option func(*Style)

// InputLayouts is the layout of the input that the module is given.
func InputLayouts(p dtensor.Placement) Option { return func(s *Style) { s.in = p } }

// OutputLayouts is the layout of the output that the module returns.
func OutputLayouts(p dtensor.Placement) Option { return func(s *Style) { s.out = p } }

// ColwiseParallel cuts the outputs of a Linear (rows of its weight, Shard(0)), or the columns of an Embedding. Its input is
// Replicate or Shard(0), by default the first; its output Shard(-1), which is the default, or Replicate.
func ColwiseParallel(options ...Option) Style {
	return style(Style{colwise, dtensor.Replicate(), dtensor.Shard(-1)}, options)
}

// RowwiseParallel cuts the inputs of a Linear (columns of its weight, Shard(1)), or the vocabulary of an Embedding. The input of a
// Linear is Shard(-1), which is the default, or Replicate; that of an Embedding is ids that all ranks have. The output is Replicate, the
// default, or Shard(0). A bias is added once, to the sum.
func RowwiseParallel(options ...Option) Style {
	return style(Style{rowwise, dtensor.Shard(-1), dtensor.Replicate()}, options)
}

// SequenceParallel has each rank compute its rows, Shard(0), with all of the parameters, whose gradients are summed over the
// axis: of a norm, or another module that takes each row for itself.
func SequenceParallel() Style {
	return Style{sequence, dtensor.Shard(0), dtensor.Shard(0)}
}

// PrepareModuleInput makes the input once for all layers in a module that are ColwiseParallel with an input Replicate: of the layout from
// (input_layouts) it becomes one of the layout to (desired_input_layouts). With Replicate twice the layers' gradients are summed before they
// are all-reduced.
func PrepareModuleInput(from, to dtensor.Placement) Style { return Style{prepareInput, from, to} }

// PrepareModuleOutput changes the layout of what a module returns, from (output_layouts) to another one (desired_output_layouts), for
// modules that all ranks compute alike or that are cut in the same way.
func PrepareModuleOutput(from, to dtensor.Placement) Style { return Style{prepareOutput, from, to} }

func style(s Style, options []Option) Style {
	for _, o := range options {
		o(&s)
	}
	return s
}

// String is such as "RowwiseParallel, Shard(-1) to Replicate".
func (s Style) String() string { return fmt.Sprintf("%s, %v to %v", names[s.kind], s.in, s.out) }

// way is a pair of layouts.
type way struct{ from, to dtensor.Placement }

// ways are what each kind takes.
var ways = func() [len(names)][]way {
	whole, rows, part := dtensor.Replicate(), dtensor.Shard(0), dtensor.Shard(-1)
	return [...][]way{
		colwise:       {{whole, part}, {whole, whole}, {rows, part}, {rows, whole}},
		rowwise:       {{part, whole}, {part, rows}, {whole, whole}, {whole, rows}},
		sequence:      {{rows, rows}},
		prepareInput:  {{whole, whole}, {rows, whole}},
		prepareOutput: {{rows, whole}, {whole, rows}, {part, whole}, {whole, part}},
	}
}()

// check is an error for layouts that the style does not take, and for a module that it does not fit.
func (s Style) check(m nn.Module) error {
	if !slices.Contains(ways[s.kind], way{s.in, s.out}) {
		return fmt.Errorf("%s takes %v, not %v to %v", names[s.kind], ways[s.kind], s.in, s.out)
	}
	switch nn.Base(m).(type) {
	case *nn.Linear, *nn.Embedding:
	default:
		if s.kind == colwise || s.kind == rowwise {
			return fmt.Errorf("%s is for a Linear or an Embedding, not %T", names[s.kind], nn.Base(m))
		}
	}
	return nil
}

// String is such as "Shard(0) to Replicate".
func (w way) String() string { return fmt.Sprintf("%v to %v", w.from, w.to) }

// weights is how a Linear's weight and bias are cut, or an Embedding's table.
func (k kind) weights(m nn.Module) (weight, bias dtensor.Placement) {
	_, table := m.(*nn.Embedding)
	if (k == colwise) != table {
		weight = dtensor.Shard(0)
	} else {
		weight = dtensor.Shard(1)
	}
	if k == colwise {
		bias = dtensor.Shard(0)
	}
	return weight, bias
}

// decorated is a module whose input comes, or whose output goes, by way of collectives.
type decorated struct {
	nn.Leaf
	nn.NoParams
	inner   nn.Module
	in, out func(c *nn.Ctx, x *nn.Var) *nn.Var // nil: as it is
	group
}

var _ nn.Decorator = (*decorated)(nil)

// Inner is the module.
func (d *decorated) Inner() *nn.Module { return &d.inner }

// Forward ends what it makes for the module.
func (d *decorated) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	given := x
	if d.in != nil {
		x = d.in(c, x)
	}
	y := d.inner.Forward(c, x)
	d.overlap.settle(c, x.Value.Tensor)
	if x.Pending && !given.Pending {
		d.note(x.Value.Tensor, replicate, Value{})
	}
	if x != given && x != y { // the module may pass its input on
		x.Done(c)
	}
	if d.out == nil {
		return y
	}
	z := d.out(c, y)
	if z != y && y != given {
		y.Done(c)
	}
	return z
}
