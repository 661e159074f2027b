// SPDX-License-Identifier: Apache-2.0

package bench_test

import (
	"context"
	"fmt"
	"strings"

	"octet/backend/bench"
)

func ExampleLinear() {
	shapes, err := bench.Selection{Generator: bench.Custom, M: 64, K: 32, N: 48}.Shapes()
	if err != nil {
		panic(err)
	}
	configs, err := bench.Configs("tensorwise")
	if err != nil {
		panic(err)
	}
	var table, file strings.Builder
	if err := bench.Linear(context.Background(), bench.Output{Text: &table, CSV: &file}, bench.LinearOptions{
		Shapes: shapes, Configs: configs, FastAccum: []bool{true}, Effort: bench.Effort{Repeat: 1},
	}); err != nil {
		panic(err)
	}
	head, row, _ := strings.Cut(file.String(), "\n")
	fmt.Println(head[:19])
	fmt.Println(row[:34])
	// Output:
	// name,M,K,N,scaling_
	// custom,64,32,48,"i:dyn_ten_e4m3,w:
}
