// SPDX-License-Identifier: Apache-2.0

package fp8_test

import (
	"fmt"

	"octet/fp8"
	"octet/nn"
)

// Conversion changes how Linears compute and how their weights travel, in place, and
// says what it made of each. parallel.Plan does it for a model that is to be sharded.
func Example() {
	linear := func(in, out int) nn.Module { return nn.NewLinear(in, out, nn.LinearOptions{}) }
	model := &nn.Sequential{Names: []string{"up", "down", "output"}, Modules: []nn.Module{linear(32, 64), linear(64, 32), linear(32, 10)}}

	cfg := fp8.DefaultConfig()
	cfg.EnableFsdpFloat8AllGather = true
	if _, err := fp8.ConvertToFloat8Training(model, cfg, fp8.FilterFQNs("output")); err != nil { // 10 is no multiple of 16
		panic(err)
	}
	fmt.Print(fp8.Report(model))
	// Output:
	// up                               [64 32]        i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2
	// down                             [32 64]        i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2
	// output                           [10 32]        high precision
}
