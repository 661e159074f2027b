// SPDX-License-Identifier: Apache-2.0

// Package fp8 trains linear layers in float8, as torchao.float8 does and with
// its names. A configuration compiles into a Recipe, a table from the Role of
// an operand to its cast; conversion gives each nn.Linear a Caster that reads
// the table and, for an all-gather in float8, gives its weight a Wire.
//
//	cfg := fp8.DefaultConfig()                     // i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2
//	cfg.EnableFsdpFloat8AllGather = true
//	model, err := fp8.ConvertToFloat8Training(model, cfg, fp8.FilterFQNs("output"))
//	fmt.Print(fp8.Report(model))                   // each Linear, and how it computes
//
// The recipes by name (ConfigFromRecipe): tensorwise, one scale a tensor, the fastest;
// rowwise, one for each vector that a product sums over, the most accurate in float8;
// rowwise_with_gw_hp, whose gradients of weights are in high precision; delayed, one scale
// a tensor that is known before the tensor is, from the steps before. Each of input,
// weight and grad_output may be scaled in its own way (CastConfig).
//
// Sharding (package fsdp) comes after. parallel.Plan does both, and has all scales made
// at once after each of the optimizer's steps (PrecomputeFloat8DynamicScaleForFSDP), those
// that are delayed before it (SyncFloat8AmaxAndScaleHistory). By hand, the order is
//
//	scales := fp8.ScalesOf(model)                  // after conversion
//	scales.Allocate(c, world)                      // after sharding, where a cast is delayed
//	… forward and backward of each microbatch …
//	scales.SyncFloat8AmaxAndScaleHistory(c)        // where a cast is delayed
//	… clip, the optimizer's step …
//	f.BeforeGathers(c, scales.PrecomputeFloat8DynamicScaleForFSDP) // optional, where weights travel as float8
//
// A scale multiplies on the way into float8; a matmul divides by it. The
// recipes and their formats are those of arXiv 2209.05433, section 4.3: E4M3
// for inputs and weights, E5M2 for gradients. Row-wise ones have E4M3 throughout and
// scales that are powers of two, one for each vector that a matmul sums over.
package fp8
