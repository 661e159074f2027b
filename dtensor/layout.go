// SPDX-License-Identifier: Apache-2.0

package dtensor

import (
	"fmt"
	"slices"
	"strings"
)

// Layout is how a tensor of a global shape lies on a mesh. It is a value and never changes; misuse panics with the layout in the text.
//
// The order in which several axes cut one dim is part of it. A weight that tensor parallelism cut first and FSDP second, 10 rows on a
// mesh (fsdp=2, tp=2):
//
//	row      0 1 2 3 4   5 6 7 8 9
//	tp       0           1           Place("tp", Shard(0))
//	fsdp     0     1     0     1     Place("fsdp", Shard(0)) cuts what tp left
//	rank     0     2     1     3
type Layout struct {
	mesh       Mesh
	shape      []int
	placements []Placement // one for each axis of the mesh; the dims of shards are not negative
	order      [][]int     // for each dim the axes that cut it, the first cut first
}

// NewLayout lays a tensor of the global shape out, with one placement for each axis of the mesh, outermost first;
// without any, it is replicated. Where several axes cut one dim, the outer axis cuts first: [Layout.Place] gives another order.
func NewLayout(mesh Mesh, shape []int, placements ...Placement) Layout {
	l := Layout{mesh, slices.Clone(shape), make([]Placement, len(mesh.axes)), make([][]int, len(shape))}
	if len(placements) != 0 && len(placements) != len(mesh.axes) {
		panic(fmt.Sprintf("dtensor: %d placements %v for mesh %v", len(placements), placements, mesh))
	}
	if len(shape) > 0 && slices.Min(shape) < 0 {
		panic(fmt.Sprintf("dtensor: shape %v has a negative size", shape))
	}
	for i, p := range placements {
		l = l.Place(mesh.axes[i].Name, p)
	}
	return l
}

// Place is l with p along an axis on which it is still replicated. A shard cuts what the shards placed before it have left.
func (l Layout) Place(axis string, p Placement) Layout {
	a := l.mesh.mustIndex(axis)
	if !l.placements[a].IsReplicate() {
		panic(fmt.Sprintf("dtensor: %v on axis %s of %v, which is not replicated there", p, axis, l))
	}
	placed := Layout{l.mesh, l.shape, slices.Clone(l.placements), slices.Clone(l.order)}
	if dim, ok := p.IsShard(); ok {
		if dim < 0 {
			dim += len(l.shape)
		}
		if dim < 0 || dim >= len(l.shape) {
			panic(fmt.Sprintf("dtensor: %v of a tensor of shape %v", p, l.shape))
		}
		p = Shard(dim)
		placed.order[dim] = append(slices.Clone(l.order[dim]), a)
	}
	if op, ok := p.IsPartial(); ok && !l.takes(op) {
		panic(fmt.Sprintf("dtensor: %v on axis %s of %v: two reductions that do not commute", p, axis, l))
	}
	placed.placements[a] = p
	return placed
}

// Placed says whether l is a layout, and not the zero value.
func (l Layout) Placed() bool { return len(l.mesh.axes) > 0 }

// Mesh is the mesh that the tensor lies on.
func (l Layout) Mesh() Mesh { return l.mesh }

// Shape is the global shape.
func (l Layout) Shape() []int { return slices.Clone(l.shape) }

// Placement is how the tensor lies along axis.
func (l Layout) Placement(axis string) Placement { return l.placements[l.mesh.mustIndex(axis)] }

// Order is the axes that cut dim, the first cut first. Gathering undoes them from the end.
func (l Layout) Order(dim int) []string {
	names := make([]string, len(l.order[dim]))
	for i, a := range l.order[dim] {
		names[i] = l.mesh.axes[a].Name
	}
	return names
}

// Local is the box of the global tensor that rank holds: where it starts and its size, one number a dim. An empty box keeps the sizes of
// its other dims. It panics where the mesh does not hold the rank.
func (l Layout) Local(rank int) (offsets, sizes []int) {
	return l.box(l.mesh.mustCoordinate(rank), -1)
}

// Box is Local as one value.
func (l Layout) Box(rank int) Box {
	b := Box{}
	b.Lo, b.Hi = l.Local(rank)
	for i, lo := range b.Lo {
		b.Hi[i] += lo
	}
	return b
}

// Primary says whether rank is the one that speaks for its box, where several ranks have the same: it counts the box in a norm and writes it to a
// checkpoint. It is the first along every axis that replicates.
func (l Layout) Primary(rank int) bool {
	for i, at := range l.mesh.mustCoordinate(rank) {
		if l.placements[i].IsReplicate() && at != 0 {
			return false
		}
	}
	return true
}

// Alone is the layout of a tensor that one rank has for itself.
func Alone(shape ...int) Layout {
	return NewLayout(Mesh{axes: []Axis{{Name: "alone", Size: 1}}, ranks: []int{0}}, shape)
}

// PaddedLocal is the shape in which rank's part travels in a collective along axis: that of Local, with the dim that
// axis cuts padded to the size that all ranks of the group share. It panics unless axis is the last that cut the dim.
func (l Layout) PaddedLocal(rank int, axis string) []int {
	a := l.mesh.mustIndex(axis)
	if dim, ok := l.placements[a].IsShard(); ok && l.order[dim][len(l.order[dim])-1] != a {
		panic(fmt.Sprintf("dtensor: a collective along axis %s of %v must come after those along the axes that cut dim %d later", axis, l, dim))
	}
	_, sizes := l.box(l.mesh.mustCoordinate(rank), a)
	return sizes
}

// box cuts each dim by its axes in order; the cut by the axis padded, if there is one, gives the padded size.
func (l Layout) box(at []int, padded int) (offsets, sizes []int) {
	offsets, sizes = make([]int, len(l.shape)), slices.Clone(l.shape)
	for dim, axes := range l.order {
		for _, a := range axes {
			w := l.mesh.axes[a].Size
			if a == padded {
				sizes[dim] = Padded(sizes[dim], w)
				continue
			}
			start, size := Chunk(sizes[dim], w, at[a])
			offsets[dim] += start
			sizes[dim] = size
		}
	}
	return offsets, sizes
}

// Equal says whether two layouts give every rank the same part of the same shape on the same mesh, by the same cuts.
func (l Layout) Equal(o Layout) bool {
	return l.mesh.Equal(o.mesh) && slices.Equal(l.shape, o.shape) && slices.Equal(l.placements, o.placements) &&
		slices.EqualFunc(l.order, o.order, slices.Equal)
}

// String is such as "[Shard(0)] over (fsdp=4)", or "[Shard(0), Shard(0)] over (fsdp=2, tp=2), dim 0 by tp then fsdp" where the
// cuts are not in the order of the mesh.
func (l Layout) String() string {
	parts := make([]string, len(l.placements))
	for i, p := range l.placements {
		parts[i] = p.String()
	}
	s := fmt.Sprintf("[%s] over %v", strings.Join(parts, ", "), l.mesh)
	for dim, axes := range l.order {
		if !slices.IsSorted(axes) {
			s += fmt.Sprintf(", dim %d by %s", dim, strings.Join(l.Order(dim), " then "))
		}
	}
	return s
}
