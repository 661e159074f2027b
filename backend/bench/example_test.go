// SPDX-License-Identifier: Apache-2.0

package bench_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"octet/backend"
	"octet/backend/bench"
)

func ExampleMatMul() {
	shape, err := bench.ParseShape("64x32x48")
	if err != nil {
		panic(err)
	}
	var table strings.Builder
	if err := bench.MatMul(context.Background(), &table, backend.Options{}, []bench.Shape{shape}, time.Millisecond); err != nil {
		panic(err)
	}
	fmt.Println("output in", strings.Count(table.String(), "output"), "types; no rate is infinite:", !strings.Contains(table.String(), "Inf"))
	// Output: output in 3 types; no rate is infinite: true
}
