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
// Sharding (package fsdp) comes after. parallel.Plan does both, and has all scales made
// at once after each of the optimizer's steps (PrecomputeFloat8DynamicScaleForFSDP).
//
// A scale multiplies on the way into float8; a matmul divides by it. The
// recipes and their formats are those of arXiv 2209.05433, section 4.3: E4M3
// for inputs and weights, E5M2 for gradients. Row-wise ones have E4M3 throughout and
// scales that are powers of two, one for each vector that a matmul sums over.
package fp8
