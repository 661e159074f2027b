// SPDX-License-Identifier: Apache-2.0

package parallel

import (
	"fmt"

	"octet/comm"
	"octet/comm/grid"
	"octet/dtensor"
	"octet/fsdp"
	"octet/tp"
)

// Degrees are how many ranks share a model in each way; together they are all ranks. Ranks that differ in Tensor alone are neighbours, then those
// that differ in Shard.
type Degrees struct {
	Replicate int // have the same part of the weights and other data (torchtitan's data_parallel_replicate_degree); 0 is 1
	Shard     int // have parts of the weights and other data (data_parallel_shard_degree); 0: all ranks that the others leave
	Tensor    int // have parts of the modules and the same data (tensor_parallel_degree); 0 is 1
}

// Resolve are the degrees in numbers, of so many ranks.
func (d Degrees) Resolve(world int) (Degrees, error) {
	r := Degrees{max(1, d.Replicate), d.Shard, max(1, d.Tensor)}
	if others := r.Replicate * r.Tensor; r.Shard == 0 {
		if r.Shard = world / others; others*r.Shard != world || r.Shard == 0 {
			return d, fmt.Errorf("Degrees.Replicate %d × Degrees.Tensor %d do not divide %d ranks", r.Replicate, r.Tensor, world)
		}
	}
	if min(d.Replicate, d.Shard, d.Tensor) < 0 || r.Replicate*r.Shard*r.Tensor != world {
		return d, fmt.Errorf("Degrees.Replicate %d × Degrees.Shard %d × Degrees.Tensor %d must be the number of ranks, %d", r.Replicate, r.Shard, r.Tensor, world)
	}
	return r, nil
}

// Mesh has the axes dp_replicate, fsdp and tp, in this order: without those of one rank, but always with fsdp.
func (d Degrees) Mesh(world int) (dtensor.Mesh, error) {
	d, err := d.Resolve(world)
	if err != nil {
		return dtensor.Mesh{}, fmt.Errorf("parallel: %w", err)
	}
	var axes []dtensor.Axis
	for _, a := range []dtensor.Axis{{Name: fsdp.ReplicaAxis, Size: d.Replicate}, {Name: fsdp.Axis, Size: d.Shard}, {Name: tp.Axis, Size: d.Tensor}} {
		if a.Size > 1 || a.Name == fsdp.Axis {
			axes = append(axes, a)
		}
	}
	return dtensor.NewMesh(world, axes...)
}

// String is such as "replicate 2 × shard 4 × tensor 2", without those that are 1.
func (d Degrees) String() string {
	text := ""
	for _, a := range []struct {
		name string
		n    int
	}{{"replicate", d.Replicate}, {"shard", d.Shard}, {"tensor", d.Tensor}} {
		if a.n > 1 {
			if text != "" {
				text += " × "
			}
			text += fmt.Sprintf("%s %d", a.name, a.n)
		}
	}
	return text
}

// dataGroup is the ranks that have other data: of a rank's own modules, if they are shared.
func dataGroup(g *grid.Grid) (comm.Comm, error) {
	if !g.Has(tp.Axis) {
		return g.World, nil
	}
	return g.Fresh("data", g.Without(tp.Axis)...)
}
