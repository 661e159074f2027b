// SPDX-License-Identifier: Apache-2.0

package tp

import (
	"fmt"
	"slices"
	"strings"

	"octet/dtensor"
)

// Value is how an operand of an operation lies along the axis: Replicate, Shard(0) (rows of an activation, or of a weight),
// Shard(-1) (columns) or Partial(sum).
type Value struct {
	At dtensor.Placement
	// Pending: the gradient of each rank is one term; only layers whose outputs are cut may read it.
	Pending bool
	// Summed, of a parameter: each rank's gradient is a term, and they are added up.
	Summed bool
}

// String is such as "Shard(0)".
func (v Value) String() string {
	if v.Pending {
		return v.At.String() + ", prepared for column-parallel layers"
	}
	return v.At.String()
}

var (
	replicate = dtensor.Replicate()
	byRows    = dtensor.Shard(0)
	byColumns = dtensor.Shard(-1)
	term      = dtensor.Partial(dtensor.Sum)
)

// operation is a kind of operation of a transformer, with what goes in and the rule from its layouts to that of what
// comes out. A rule is a pure function; its error says what would do.
type operation struct {
	name   string
	inputs []string
	rule   func(in []Value) (dtensor.Placement, error)
}

// apply is the layout of what comes out; its error names operation and layouts.
func (o operation) apply(in ...Value) (Value, error) {
	out, err := o.rule(in)
	if err == nil {
		return Value{At: out}, nil
	}
	var given []string
	for i, v := range in {
		given = append(given, fmt.Sprintf("%s %v", o.inputs[min(i, len(o.inputs)-1)], v))
	}
	return Value{}, fmt.Errorf("%s of %s: %w", o.name, strings.Join(given, ", "), err)
}

// The operations. Activations come first, parameters behind.
var (
	opEmbedding = operation{"embedding", []string{"ids", "table"}, embeddingRule}
	opLinear    = operation{"linear layer", []string{"input", "weight"}, linearRule}
	opBias      = operation{"bias", []string{"output", "bias"}, biasRule}
	opNorm      = operation{"norm", []string{"input", "weight"}, normRule}
	opAdd       = operation{"sum", []string{"input", "other"}, addRule}
	opEach      = operation{"function of each element", []string{"input"}, alikeRule}
	opAttention = operation{"attention", []string{"queries", "keys", "values"}, headsRule}
	opCast      = operation{"cast", []string{"input"}, alikeRule}
	opLoss      = operation{"cross-entropy", []string{"logits"}, lossRule}
	opSliceLoss = operation{"cross-entropy of a sliced vocabulary", []string{"logits"}, sliceLossRule}
	opSquares   = operation{"squared error", []string{"output"}, lossRule}
	opGather    = operation{"all-gather", []string{"input"}, gatherRule}
	opScatter   = operation{"reduce-scatter", []string{"input"}, sumRule(byRows)}
	opSum       = operation{"all-reduce", []string{"input"}, sumRule(replicate)}
)

// Rules are the table of all combinations that propagate, as text.
func Rules() string {
	places := []dtensor.Placement{replicate, byRows, byColumns, term}
	var b strings.Builder
	for _, o := range []operation{opEmbedding, opLinear, opBias, opNorm, opAdd, opEach, opAttention, opCast, opLoss, opSliceLoss, opSquares, opGather, opScatter, opSum} {
		in := make([]Value, len(o.inputs))
		var visit func(i int)
		visit = func(i int) {
			if i < len(in) {
				for _, at := range places {
					in[i] = Value{At: at, Summed: at == replicate && i > 0}
					visit(i + 1)
				}
				return
			}
			if out, err := o.apply(in...); err == nil {
				fmt.Fprintf(&b, "%-36s %-40s %v\n", o.name, strings.Trim(fmt.Sprint(in), "[]"), out)
			}
		}
		visit(0)
	}
	return b.String()
}

// pendingSum is the advice for a term.
var errTerm = fmt.Errorf("each rank has a term of the value: make it whole where it is computed (RowwiseParallel with OutputLayouts of Replicate or Shard(0))")

func embeddingRule(in []Value) (dtensor.Placement, error) {
	ids, table := in[0].At, in[1].At
	switch {
	case table == byRows && ids == replicate:
		return term, nil
	case table == byColumns && ids == replicate:
		return byColumns, nil
	case table == replicate && (ids == replicate || ids == byRows && in[1].Summed):
		return ids, nil
	}
	return replicate, fmt.Errorf("all ranks need the same ids")
}

func linearRule(in []Value) (dtensor.Placement, error) {
	x, w := in[0].At, in[1].At
	switch {
	case x == term || w == term:
		return replicate, errTerm
	case x == replicate && w == byRows:
		return byColumns, nil
	case in[0].Pending:
		return replicate, fmt.Errorf("the input's gradients will be added up, and here all ranks have the same: use ColwiseParallel, or take the layer out of the prepared module")
	case x == byColumns && w == byColumns:
		return term, nil
	case x == replicate && w == replicate:
		return replicate, nil
	case x == byRows && w == replicate && in[1].Summed:
		return byRows, nil
	case x == byRows:
		return replicate, fmt.Errorf("each rank has some rows of the input: use ColwiseParallel with InputLayouts of Shard(0), or PrepareModuleInput of what is around")
	case x == byColumns:
		return replicate, fmt.Errorf("each rank has some columns of the input: use RowwiseParallel, or OutputLayouts of Replicate where they are computed")
	}
	return replicate, fmt.Errorf("all ranks have the whole input: use RowwiseParallel with InputLayouts of Replicate, or ColwiseParallel before it")
}

func biasRule(in []Value) (dtensor.Placement, error) {
	y, b := in[0].At, in[1].At
	switch {
	case y == term:
		return replicate, fmt.Errorf("it would be added once for each rank: add it to the sum")
	case y == byColumns && b == byRows, y == replicate && b == replicate, y == byRows && b == replicate && in[1].Summed:
		return y, nil
	}
	return replicate, fmt.Errorf("the bias is not cut as the output is: cut the layer's weight and bias by one style")
}

func normRule(in []Value) (dtensor.Placement, error) {
	x, w := in[0].At, in[1]
	switch {
	case x == term:
		return replicate, errTerm
	case in[0].Pending:
		return replicate, fmt.Errorf("the input's gradients will be added up, and here all ranks have the same: norm before PrepareModuleInput")
	case x == byColumns:
		return replicate, fmt.Errorf("a norm needs all columns: OutputLayouts of Replicate where they are computed")
	case x == byRows && !w.Summed:
		return replicate, fmt.Errorf("each rank has some rows, and so a term of the weight's gradient: use SequenceParallel")
	case w.At != replicate:
		return replicate, fmt.Errorf("a norm needs all of its weight")
	}
	return x, nil
}

func addRule(in []Value) (dtensor.Placement, error) {
	switch x, r := in[0].At, in[1].At; {
	case x == term && r == term:
		return term, nil
	case x == term || r == term:
		return replicate, errTerm
	case in[0].Pending || in[1].Pending:
		return replicate, fmt.Errorf("the gradients of one will be added up: use the value from before PrepareModuleInput")
	case x != r:
		return replicate, fmt.Errorf("both must lie alike: give the layers before them one OutputLayouts")
	default:
		return x, nil
	}
}

func alikeRule(in []Value) (dtensor.Placement, error) {
	switch {
	case slices.ContainsFunc(in, func(v Value) bool { return v.At == term }):
		return replicate, errTerm
	case slices.ContainsFunc(in, func(v Value) bool { return v.At != in[0].At }):
		return replicate, fmt.Errorf("all must lie alike: give the layers before them one OutputLayouts")
	}
	return in[0].At, nil
}

func headsRule(in []Value) (dtensor.Placement, error) {
	at, err := alikeRule(in)
	if err == nil && at == byRows {
		err = fmt.Errorf("attention needs all tokens of a sequence: PrepareModuleInput of the module, from Shard(0) to Replicate")
	}
	return at, err
}

func lossRule(in []Value) (dtensor.Placement, error) {
	if in[0].At != replicate {
		return replicate, fmt.Errorf("it needs the whole of each row: OutputLayouts of Replicate of the last layer")
	}
	return replicate, nil
}

func sliceLossRule(in []Value) (dtensor.Placement, error) {
	if in[0].At != byColumns {
		return replicate, fmt.Errorf("it needs a slice of each row: OutputLayouts of Shard(-1) of the last layer")
	}
	return replicate, nil
}

func gatherRule(in []Value) (dtensor.Placement, error) {
	if in[0].At != byRows && in[0].At != byColumns {
		return replicate, fmt.Errorf("there is nothing to gather: the style's input layout is not what the module gets")
	}
	return replicate, nil
}

func sumRule(to dtensor.Placement) func(in []Value) (dtensor.Placement, error) {
	return func(in []Value) (dtensor.Placement, error) {
		if in[0].At != term {
			return replicate, fmt.Errorf("there is nothing to add up: the style's layout is not what the module computes")
		}
		return to, nil
	}
}
