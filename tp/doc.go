// SPDX-License-Identifier: Apache-2.0

// Package tp computes modules on the ranks of one mesh axis together (tensor and sequence
// parallelism, arXiv 1909.08053 and 2205.05198): each rank has a part of a weight and computes
// what follows from it. A Plan says by a table of names which module is cut how, in the styles
// of torch.distributed.tensor.parallel:
//
//	plan := tp.Plan{
//		tp.For("attention", tp.PrepareModuleInput(dtensor.Shard(0), dtensor.Replicate())),
//		tp.For("attention.w[qkv]", tp.ColwiseParallel()),
//		tp.For("attention.wo", tp.RowwiseParallel(tp.OutputLayouts(dtensor.Shard(0)))),
//		tp.For("norm", tp.SequenceParallel()),
//	}
//	fmt.Print(plan)
//	err := plan.Check(another, mesh, ids)    // before any rank starts, of a model like it
//	partial, err := plan.Apply(&model, grid, nil) // on every rank, before the model is sharded by fsdp
//
// Layouts of activations are dtensor's: Replicate; Shard(-1), a part of the last dimension, such as
// some heads; and Shard(0), some rows of the flattened tokens [B·S,D] (torch shards the sequence, Shard(1); rows
// are what an all-gather joins without a permutation). Partial(sum), a term of the value on each rank, is what a
// RowwiseParallel layer computes; it is made whole, or rows of what is whole, at once.
//
// Collectives are of the stream and in the type that computes. Those of backward are the others' transposes:
//
//	forward            backward
//	nothing            all-reduce        Replicate into a column-parallel layer
//	all-gather         reduce-scatter    Shard(0) into one
//	all-reduce         nothing           Partial(sum) to Replicate
//	reduce-scatter     all-gather        Partial(sum) to Shard(0)
//
// Weights are drawn and loaded as parts of the whole, so a model starts with the values that it has on one rank.
package tp
