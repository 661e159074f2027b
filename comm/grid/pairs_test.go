// SPDX-License-Identifier: Apache-2.0

package grid_test

import (
	"slices"
	"testing"

	"octet/dtensor"
	"octet/dtype"
)

// TestEveryPairOfLayouts of one axis, of two, and of three, in every order of cuts, unevenly.
func TestEveryPairOfLayouts(t *testing.T) {
	whole := make([]float32, 35)
	for i := range whole {
		whole[i] = float32(i*i%41 - 20)
	}
	shape := []int{7, 5}
	for _, sizes := range [][]int{{4}, {3, 2}, {2, 2, 2}} {
		var axes []dtensor.Axis
		for i, n := range sizes {
			axes = append(axes, dtensor.Axis{Name: string(rune('a' + i)), Size: n})
		}
		mesh := mesh(t, numel(sizes), axes...)
		all := everyLayout(mesh, shape)
		for i, from := range all {
			for k, to := range all {
				if len(axes) > 1 && k != (5*i+3)%len(all) && k != 0 { // to one other, and to the whole
					continue
				}
				p, err := dtensor.NewPlan(from, to, dtype.Float32)
				if err != nil {
					t.Fatal(err)
				}
				check(t, p, whole, dtensor.Sum)
			}
		}
	}
}

// everyLayout is all ways in which the axes of a mesh, in any order, repeat a tensor, cut it or have terms of it; that of the whole is first.
func everyLayout(mesh dtensor.Mesh, shape []int) (all []dtensor.Layout) {
	placements := []dtensor.Placement{dtensor.Replicate(), dtensor.Partial(dtensor.Sum)}
	for d := range shape {
		placements = append(placements, dtensor.Shard(d))
	}
	seen := map[string]bool{}
	var visit func(l dtensor.Layout, axes []dtensor.Axis)
	visit = func(l dtensor.Layout, axes []dtensor.Axis) {
		if len(axes) == 0 {
			if !seen[l.String()] {
				seen[l.String()], all = true, append(all, l)
			}
			return
		}
		for i, a := range axes {
			rest := slices.Delete(slices.Clone(axes), i, i+1)
			for _, p := range placements {
				if p.IsReplicate() {
					visit(l, rest)
				} else {
					visit(l.Place(a.Name, p), rest)
				}
			}
		}
	}
	visit(dtensor.NewLayout(mesh, shape), mesh.Axes())
	return all
}
