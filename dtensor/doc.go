// SPDX-License-Identifier: Apache-2.0

// Package dtensor says which rank holds which part of a tensor. It is pure arithmetic: no memory, no communication.
//
// A [Mesh] arranges the ranks along named axes; a [Layout] says for each axis whether a tensor is cut along it ([Shard]), whole on
// every rank ([Replicate]), or a sum still to be made ([Partial]). Ask a Mesh for the groups that communicate, and a Layout for a
// rank's box of the global tensor. A [Plan] is the cheapest way from one layout to another; package comm/grid runs it.
// "Axis" is always of the mesh, "dim" of the tensor.
//
//	mesh, err := dtensor.NewMesh(8, dtensor.Axis{Name: "fsdp", Size: 4}, dtensor.Axis{Name: "tp", Size: 2})
//	if err != nil {
//		return err
//	}
//	ranks, color, key := mesh.Group(rank, "fsdp") // world.Split(color, key) is the communicator of these ranks
//	w := dtensor.NewLayout(mesh, []int{4096, 1024}).Place("tp", dtensor.Shard(0)).Place("fsdp", dtensor.Shard(0))
//	offsets, sizes := w.Local(rank)
//	plan, err := dtensor.NewPlan(w, dtensor.NewLayout(mesh, w.Shape()), dtype.BFloat16) // the collectives that gather it
//
// Meaning and names are those of PyTorch's DTensor, but for one thing: where several axes cut the same dim, a Layout records
// the order of the cuts and has no strided shards, so each rank's part is one box.
package dtensor
