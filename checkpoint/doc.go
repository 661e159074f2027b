// SPDX-License-Identifier: Apache-2.0

// Package checkpoint keeps what a run needs to go on, in a folder that any number of ranks can read, however they lie:
//
//	checkpoint/step-500/
//	  index.json               what there is, where, and its sums; written last
//	  rank-00003.safetensors   the parts that rank 3 wrote
//
// A [Saver] writes them while training goes on; a folder without an index is no checkpoint. [Open] reads one: [Checkpoint.Load]
// gives tensors (nn.DTensor) the parts of them that the rank has, from whatever parts were written, and finds every byte that was changed.
// [List] finds them in a folder. [Source] is tensors by name, in a checkpoint or in safetensors files (package safetensors reads these);
// [Weights] are a model's parameters in one, its first values; their errors name checkpoint.initial_load_path, the key that names it.
package checkpoint
