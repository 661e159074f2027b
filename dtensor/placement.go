// SPDX-License-Identifier: Apache-2.0

package dtensor

import "fmt"

// Placement says how a tensor lies along one axis of a mesh. Compare with ==. The zero value is Replicate().
type Placement struct {
	kind kind
	dim  int    // of a shard
	op   Reduce // of a partial value
}

type kind uint8

const (
	replicate kind = iota
	shard
	partial
)

// Reduce is the reduction that a partial value waits for.
type Reduce string

// The reductions, those of comm. Those that are pending at once on different axes must be equal.
const (
	Sum Reduce = "sum"
	Max Reduce = "max"
)

// Replicate is a whole tensor on every rank of the axis.
func Replicate() Placement { return Placement{} }

// Shard is a tensor whose dim is cut along the axis; a negative dim counts from the last.
func Shard(dim int) Placement { return Placement{kind: shard, dim: dim} }

// Partial is a tensor of full shape on every rank, whose value is the reduction over the axis.
func Partial(op Reduce) Placement { return Placement{kind: partial, op: op} }

// IsReplicate says whether p is Replicate().
func (p Placement) IsReplicate() bool { return p.kind == replicate }

// IsShard returns the dim that is cut, if one is.
func (p Placement) IsShard() (dim int, ok bool) { return p.dim, p.kind == shard }

// IsPartial returns the pending reduction, if there is one.
func (p Placement) IsPartial() (op Reduce, ok bool) { return p.op, p.kind == partial }

// String is such as "Replicate", "Shard(0)", "Partial(sum)".
func (p Placement) String() string {
	switch p.kind {
	case shard:
		return fmt.Sprintf("Shard(%d)", p.dim)
	case partial:
		return fmt.Sprintf("Partial(%s)", p.op)
	}
	return "Replicate"
}
