// SPDX-License-Identifier: Apache-2.0

package dtensor

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"
	"strings"

	"octet/dtype"
	"octet/tensor"
)

// Plan is how a tensor comes from one layout to another: a list of collectives, each
// along one axis, and of local cuts. It is the cheapest there is: of all such lists the
// one by which a rank sends the fewest bytes, and of those the shortest.
type Plan struct {
	From, To Layout
	Type     dtype.Type
	Steps    []Step
}

// Step is a part of a plan.
type Step struct {
	Kind          StepKind
	Axis          string
	Before, After Layout
	// Sent is how many elements the first rank sends, of which no other sends more: what
	// is cut unevenly travels padded to the largest part.
	Sent int
}

// StepKind is what a step does.
type StepKind uint8

// The kinds; w is the size of the axis and S what a rank has after a gather, or before
// a reduction, in elements. The last three send nothing.
const (
	AllGather     StepKind = iota // Shard(d) becomes Replicate; S(w-1)/w
	AllToAll                      // Shard(i) becomes Shard(j); S(w-1)/w²
	ReduceScatter                 // Partial becomes Shard(d); S(w-1)/w
	AllReduce                     // Partial becomes Replicate; 2S(w-1)/w
	Cut                           // Replicate becomes Shard(d): each rank keeps its part
	Keep                          // Replicate becomes Partial: of a sum the first rank keeps the value, the others have zeros
	Pad                           // Shard(d) becomes Partial(sum): each rank puts its part among zeros
)

// String is the operation's usual name, such as "all-gather".
func (k StepKind) String() string {
	return [...]string{"all-gather", "all-to-all", "reduce-scatter", "all-reduce", "cut", "keep", "pad"}[k]
}

// NewPlan plans the way of a tensor of type t between two layouts of one shape on one
// mesh. A pending reduction of a type that comm does not reduce is an error that names both.
func NewPlan(from, to Layout, t dtype.Type) (Plan, error) {
	p := Plan{From: from, To: to, Type: t}
	if !from.mesh.Equal(to.mesh) || !slices.Equal(from.shape, to.shape) {
		return p, fmt.Errorf("dtensor: from %v of shape %v to %v of shape %v: a plan is between layouts of one shape on one mesh", from, from.shape, to, to.shape)
	}
	steps, ok := cheapest(from, to, t)
	if !ok {
		return p, fmt.Errorf("dtensor: no plan for %v from %v to %v: comm reduces float32, bfloat16 and int32; make what is pending whole (Replicate) where it is computed", t, from, to)
	}
	p.Steps = steps
	return p, nil
}

// Bytes is what the first rank sends, of which no other sends more.
func (p Plan) Bytes() int {
	n := 0
	for _, s := range p.Steps {
		n += s.Sent * p.Type.Size()
	}
	return n
}

// String is a line for each step, with the bytes that a rank sends, and one for all.
func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v%v from %v to %v: %d bytes\n", p.Type, p.From.shape, p.From, p.To, p.Bytes())
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "  %-14s %-12s %v to %v, %d bytes\n", s.Kind, s.Axis, s.Before.Placement(s.Axis), s.After.Placement(s.Axis), s.Sent*p.Type.Size())
	}
	return b.String()
}

// state is a layout on the way and the cheapest way there so far.
type state struct {
	layout Layout
	key    string
	sent   int
	by     Step
	from   *state
	depth  int
	index  int // in the order of discovery: of equal ways the first stays
}

// cheapest is Dijkstra's algorithm (doi 10.1007/BF01386390) over layouts.
func cheapest(from, to Layout, t dtype.Type) ([]Step, bool) {
	goal, found := to.key(), 0
	open, done := &states{{layout: from, key: from.key()}}, map[string]bool{}
	for open.Len() > 0 {
		at := heap.Pop(open).(*state)
		if done[at.key] {
			continue
		}
		done[at.key] = true
		if at.key == goal {
			var steps []Step
			for ; at.from != nil; at = at.from {
				steps = append(steps, at.by)
			}
			slices.Reverse(steps)
			return steps, true
		}
		for _, s := range at.layout.steps(to, t) {
			if key := s.After.key(); !done[key] {
				found++
				heap.Push(open, &state{layout: s.After, key: key, sent: at.sent + s.Sent, by: s, from: at, depth: at.depth + 1, index: found})
			}
		}
	}
	return nil, false
}

// steps are all that may come next, on the way to a layout.
func (l Layout) steps(to Layout, t dtype.Type) (next []Step) {
	for a, axis := range l.mesh.axes {
		add := func(kind StepKind, p Placement) {
			without := l.without(a)
			if op, ok := p.IsPartial(); ok && !without.takes(op) {
				return
			}
			s := Step{Kind: kind, Axis: axis.Name, Before: l, After: without.Place(axis.Name, p)}
			s.Sent = s.sent(axis.Size)
			next = append(next, s)
		}
		shards := func(kind StepKind, but int) {
			for dim := range l.shape {
				if dim != but {
					add(kind, Shard(dim))
				}
			}
		}
		here, there := l.placements[a], to.placements[a]
		op, pending := there.IsPartial()
		switch {
		case here.kind == shard && l.last(here.dim) == a:
			add(AllGather, Replicate())
			shards(AllToAll, here.dim)
			if pending && op == Sum && summable(t) {
				add(Pad, there)
			}
		case here.kind == partial:
			if summable(t) {
				add(AllReduce, Replicate())
				if t != dtype.Int32 {
					shards(ReduceScatter, -1)
				}
			}
		case here.kind == replicate:
			shards(Cut, -1)
			if pending && summable(t) {
				add(Keep, there)
			}
		}
	}
	return next
}

// summable reports whether comm reduces values of a type.
func summable(t dtype.Type) bool {
	return t == dtype.Float32 || t == dtype.BFloat16 || t == dtype.Int32
}

// sent is what the first rank sends of a step along an axis of size w.
func (s Step) sent(w int) int {
	_, before := s.Before.box(make([]int, len(s.Before.mesh.axes)), -1)
	_, after := s.After.box(make([]int, len(s.After.mesh.axes)), -1)
	switch s.Kind {
	case AllGather:
		return (w - 1) * tensor.Numel(before)
	case ReduceScatter:
		return (w - 1) * tensor.Numel(after)
	case AllReduce:
		return (2*(w-1)*tensor.Numel(before) + w - 1) / w
	case AllToAll:
		return (w - 1) * tensor.Numel(s.Slot(s.Before.mesh.ranks[0]))
	}
	return 0
}

// Slot is the shape of what a rank and one other of its group have to do with one
// another in a collective, padded so that it is that of every pair.
func (s Step) Slot(rank int) []int {
	switch s.Kind {
	case AllGather:
		return s.Before.PaddedLocal(rank, s.Axis)
	case ReduceScatter:
		return s.After.PaddedLocal(rank, s.Axis)
	case AllToAll:
		slot := s.Before.PaddedLocal(rank, s.Axis)
		dim, _ := s.After.Placement(s.Axis).IsShard()
		slot[dim] = s.After.PaddedLocal(rank, s.Axis)[dim]
		return slot
	}
	panic(fmt.Sprintf("dtensor: a %v has no slots", s.Kind))
}

// last is the axis that cut a dim last, -1 if none did.
func (l Layout) last(dim int) int {
	if n := len(l.order[dim]); n > 0 {
		return l.order[dim][n-1]
	}
	return -1
}

// without is l, replicated along an axis, which must not have cut before another one did.
func (l Layout) without(a int) Layout {
	w := Layout{l.mesh, l.shape, slices.Clone(l.placements), slices.Clone(l.order)}
	if dim, ok := l.placements[a].IsShard(); ok {
		w.order[dim] = w.order[dim][:len(w.order[dim])-1]
	}
	w.placements[a] = Replicate()
	return w
}

// takes reports whether a reduction may be pending beside those that are.
func (l Layout) takes(op Reduce) bool {
	return !slices.ContainsFunc(l.placements, func(p Placement) bool {
		other, ok := p.IsPartial()
		return ok && other != op
	})
}

// key tells the layouts of one shape on one mesh apart.
func (l Layout) key() string { return fmt.Sprint(l.placements, l.order) }

// states is a heap of them, the cheapest first.
type states []*state

func (h states) Len() int { return len(h) }
func (h states) Less(i, j int) bool {
	a, b := h[i], h[j]
	return cmp.Or(cmp.Compare(a.sent, b.sent), cmp.Compare(a.depth, b.depth), cmp.Compare(a.index, b.index)) < 0
}
func (h states) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *states) Push(x any)   { *h = append(*h, x.(*state)) }
func (h *states) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
