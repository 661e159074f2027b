// SPDX-License-Identifier: Apache-2.0

// Package bench measures what `octet bench` prints: matrix products, linear layers in
// each float8 recipe and against a model of what they should take, by torchao's names
// and columns. All ratios are between runs that took turns.
//
//	shapes, err := bench.Selection{Generator: bench.Llama, M: 2048}.Shapes()
//	err = bench.Linear(ctx, bench.Output{Text: os.Stdout}, bench.LinearOptions{Shapes: shapes, …})
package bench
