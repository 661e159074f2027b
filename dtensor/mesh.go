// SPDX-License-Identifier: Apache-2.0

package dtensor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Axis is one axis of a mesh: a name such as "fsdp" and the number of coordinates along it.
type Axis struct {
	Name string `json:"name"`
	Size int    `json:"size"`
}

// Mesh arranges ranks in a grid with named axes, outermost first: the last axis varies fastest, so its neighbours are adjacent ranks.
// It is a value and never changes.
type Mesh struct {
	axes  []Axis
	ranks []int // of the world, row-major over axes
}

// NewMesh arranges the ranks 0 to world-1. The product of the axes' sizes must be world.
func NewMesh(world int, axes ...Axis) (Mesh, error) {
	m := Mesh{axes: slices.Clone(axes)}
	if len(axes) == 0 {
		return Mesh{}, errors.New("dtensor: a mesh needs at least one axis")
	}
	n := 1
	for i, a := range axes {
		if a.Name == "" || slices.ContainsFunc(axes[:i], func(o Axis) bool { return o.Name == a.Name }) {
			return Mesh{}, fmt.Errorf("dtensor: mesh %v: axis name %q is empty or there twice", m, a.Name)
		}
		if a.Size < 1 {
			return Mesh{}, fmt.Errorf("dtensor: mesh %v: axis %s has size %d, the least is 1", m, a.Name, a.Size)
		}
		n *= a.Size
		if n > world {
			break // before the product can overflow
		}
	}
	if n != world {
		return Mesh{}, fmt.Errorf("dtensor: mesh %v does not hold exactly the world's %d ranks", m, world)
	}
	for r := range world {
		m.ranks = append(m.ranks, r)
	}
	return m, nil
}

// Axes are the axes, outermost first.
func (m Mesh) Axes() []Axis { return slices.Clone(m.axes) }

// Ranks are the ranks of the world that the mesh holds, row-major.
func (m Mesh) Ranks() []int { return slices.Clone(m.ranks) }

// Size is the number of coordinates along axis. It panics where there is no such axis.
func (m Mesh) Size(axis string) int { return m.axes[m.mustIndex(axis)].Size }

// Coordinate is the place of a rank, one number an axis; false where the mesh does not hold the rank.
func (m Mesh) Coordinate(rank int) ([]int, bool) {
	at := rank // where they are in their order
	if at < 0 || at >= len(m.ranks) || m.ranks[at] != rank {
		if at = slices.Index(m.ranks, rank); at < 0 {
			return nil, false
		}
	}
	c := make([]int, len(m.axes))
	for i := len(m.axes) - 1; i >= 0; i-- {
		c[i] = at % m.axes[i].Size
		at /= m.axes[i].Size
	}
	return c, true
}

// Slice is the sub-mesh through rank of the named axes, in the order asked.
func (m Mesh) Slice(rank int, names ...string) (Mesh, error) {
	picked, err := m.indices(names)
	if err != nil {
		return Mesh{}, err
	}
	at, ok := m.Coordinate(rank)
	if !ok {
		return Mesh{}, fmt.Errorf("dtensor: rank %d is not in mesh %v of ranks %v", rank, m, m.ranks)
	}
	return m.subMesh(at, picked), nil
}

// Flatten is the same mesh with the named axes merged into one, called name ("dp_cp" for dp and cp where name is empty). The new axis
// runs through them row-major in the order asked, and stands where the first of them stood.
func (m Mesh) Flatten(name string, names ...string) (Mesh, error) {
	merged, err := m.indices(names)
	if err != nil {
		return Mesh{}, err
	}
	if name == "" {
		name = strings.Join(names, "_")
	}
	one := Axis{Name: name, Size: 1}
	for _, i := range merged {
		one.Size *= m.axes[i].Size
	}
	// Transpose so that the merged axes are neighbours in the order asked, then see them as one.
	var order []int
	var axes []Axis
	for i, a := range m.axes {
		switch {
		case i == slices.Min(merged):
			order = append(order, merged...)
			axes = append(axes, one)
		case !slices.Contains(merged, i):
			order = append(order, i)
			axes = append(axes, a)
			if a.Name == name {
				return Mesh{}, fmt.Errorf("dtensor: mesh %v has an axis %s already", m, name)
			}
		}
	}
	return Mesh{axes: axes, ranks: m.subMesh(make([]int, len(m.axes)), order).ranks}, nil
}

// Group is what rank needs to communicate along axis: the ranks that differ from it only there, in the order of their coordinates, and the
// color and key that make this group when every rank of the mesh passes its own to Comm.Split: the linear index of the
// other coordinates, and the coordinate on axis. It panics where there is no such axis or rank.
func (m Mesh) Group(rank int, axis string) (ranks []int, color, key int) {
	a := m.mustIndex(axis)
	at := m.mustCoordinate(rank)
	for i := range m.axes {
		if i != a {
			color = color*m.axes[i].Size + at[i]
		}
	}
	return m.subMesh(at, []int{a}).ranks, color, at[a]
}

// Equal says whether both meshes have the same axes and ranks.
func (m Mesh) Equal(o Mesh) bool {
	return slices.Equal(m.axes, o.axes) && slices.Equal(m.ranks, o.ranks)
}

// String is such as "(fsdp=4, tp=2)".
func (m Mesh) String() string {
	parts := make([]string, len(m.axes))
	for i, a := range m.axes {
		parts[i] = fmt.Sprintf("%s=%d", a.Name, a.Size)
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

// subMesh is the mesh of the picked axes through the coordinate at.
func (m Mesh) subMesh(at, picked []int) Mesh {
	var sub Mesh
	n := 1
	for _, i := range picked {
		sub.axes = append(sub.axes, m.axes[i])
		n *= m.axes[i].Size
	}
	at = slices.Clone(at)
	for linear := range n {
		for j := len(picked) - 1; j >= 0; j-- {
			size := m.axes[picked[j]].Size
			at[picked[j]] = linear % size
			linear /= size
		}
		index := 0
		for i, a := range m.axes {
			index = index*a.Size + at[i]
		}
		sub.ranks = append(sub.ranks, m.ranks[index])
	}
	return sub
}

// indices finds named axes.
func (m Mesh) indices(names []string) ([]int, error) {
	if len(names) == 0 {
		return nil, fmt.Errorf("dtensor: no axis of mesh %v was named", m)
	}
	found := make([]int, len(names))
	for i, name := range names {
		found[i] = m.index(name)
		if found[i] < 0 {
			return nil, fmt.Errorf("dtensor: no axis %q in mesh %v", name, m)
		}
		if slices.Contains(found[:i], found[i]) {
			return nil, fmt.Errorf("dtensor: axis %q of mesh %v was named twice", name, m)
		}
	}
	return found, nil
}

func (m Mesh) index(axis string) int {
	return slices.IndexFunc(m.axes, func(a Axis) bool { return a.Name == axis })
}

func (m Mesh) mustIndex(axis string) int {
	i := m.index(axis)
	if i < 0 {
		panic(fmt.Sprintf("dtensor: no axis %q in mesh %v", axis, m))
	}
	return i
}

func (m Mesh) mustCoordinate(rank int) []int {
	at, ok := m.Coordinate(rank)
	if !ok {
		panic(fmt.Sprintf("dtensor: rank %d is not in mesh %v of ranks %v", rank, m, m.ranks))
	}
	return at
}
