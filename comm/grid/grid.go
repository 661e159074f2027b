// SPDX-License-Identifier: Apache-2.0

// Package grid is a mesh with communicators (Grid), and tensors that are spread over it
// (Tensor): DTensor's distribute_tensor, from_local, redistribute and full_tensor, without
// gradients. Package dtensor says what is where and plans the way from one layout to
// another; here a plan runs, on any comm.Comm.
//
//	mesh, err := dtensor.NewMesh(4, dtensor.Axis{Name: "fsdp", Size: 2}, dtensor.Axis{Name: "tp", Size: 2})
//	g, err := grid.New(mesh, world)                   // all ranks; a communicator for each axis
//	rows := dtensor.NewLayout(mesh, []int{8, 6}).Place("tp", dtensor.Shard(0))
//	x := g.Distribute(s, pool, whole, rows)           // this rank's rows
//	y, err := g.Redistribute(s, pool, x, rows.…)      // new memory
//	z, err := g.FullTensor(s, pool, y)                // all of it
package grid

import (
	"fmt"
	"slices"
	"strings"

	"octet/comm"
	"octet/dtensor"
)

// Grid is the communicators of one rank along the axes of a mesh.
type Grid struct {
	Mesh  dtensor.Mesh
	World comm.Comm // of all its ranks
	axes  map[string]comm.Comm
}

// New makes a communicator for each axis. An axis that holds all ranks in their order has
// the world's; those of size 1 share one. All ranks of world must call it, with one mesh
// of its ranks 0 to Size-1.
func New(mesh dtensor.Mesh, world comm.Comm) (*Grid, error) {
	if len(mesh.Ranks()) != world.Size() {
		return nil, fmt.Errorf("grid: mesh %v has %d ranks, the communicator %d", mesh, len(mesh.Ranks()), world.Size())
	}
	g := &Grid{Mesh: mesh, World: world, axes: map[string]comm.Comm{}}
	var alone comm.Comm
	for _, axis := range mesh.Axes() {
		ranks, _, _ := mesh.Group(world.Rank(), axis.Name)
		switch {
		case slices.Equal(ranks, everyone(world.Size())):
			g.axes[axis.Name] = world
			continue
		case axis.Size == 1 && alone != nil:
			g.axes[axis.Name] = alone
			continue
		}
		c, err := g.Fresh(axis.Name, axis.Name)
		if err != nil {
			return nil, err
		}
		if g.axes[axis.Name] = c; axis.Size == 1 {
			alone = c
		}
	}
	return g, nil
}

// Line is the grid of all ranks along one axis.
func Line(world comm.Comm, axis string) *Grid {
	mesh, err := dtensor.NewMesh(world.Size(), dtensor.Axis{Name: axis, Size: world.Size()})
	if err != nil {
		panic(fmt.Sprintf("grid: %v", err)) // of a name that is none
	}
	return &Grid{Mesh: mesh, World: world, axes: map[string]comm.Comm{axis: world}}
}

func everyone(n int) []int {
	ranks := make([]int, n)
	for r := range ranks {
		ranks[r] = r
	}
	return ranks
}

// Axis is the communicator of the ranks that differ from this one along an axis only, for
// work on the compute stream. It panics where there is no such axis.
func (g *Grid) Axis(name string) comm.Comm {
	c, ok := g.axes[name]
	if !ok {
		panic(fmt.Sprintf("grid: no axis %q in mesh %v", name, g.Mesh))
	}
	return c
}

// Has says whether the mesh has an axis of that name.
func (g *Grid) Has(name string) bool {
	_, ok := g.axes[name]
	return ok
}

// Without are the axes of the mesh but one.
func (g *Grid) Without(name string) (axes []string) {
	for _, a := range g.Mesh.Axes() {
		if a.Name != name {
			axes = append(axes, a.Name)
		}
	}
	return axes
}

// Fresh makes one more communicator, of the ranks that differ from this one along the
// given axes only, for a stream of its own; errors and records call it by label. All
// ranks call it alike.
func (g *Grid) Fresh(label string, axes ...string) (comm.Comm, error) {
	const one = "\x00" // no axis is called so
	flat, err := g.Mesh.Flatten(one, axes...)
	if err != nil {
		return nil, fmt.Errorf("grid: %w", err)
	}
	ranks, color, key := flat.Group(g.World.Rank(), one)
	var c comm.Comm
	if w, ok := g.World.(comm.Alone); ok {
		c = w.Of(key, len(ranks))
	} else if c, err = g.World.Split(color, key); err != nil {
		return nil, fmt.Errorf("grid: %s: %w", strings.Join(axes, ", "), err)
	}
	if named, ok := c.(comm.Control); ok {
		named.SetName(label)
	}
	return c, nil
}
