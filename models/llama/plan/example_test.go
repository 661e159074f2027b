// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"

	"octet/config"
	"octet/models/llama/plan"
)

// A configuration becomes a model's sizes and the table of what is done to it.
func ExampleResolve() {
	cfg, err := config.Load([]string{"--config=../../../configs/debugmodel.toml", "--model.args.n_layers=2"})
	if err != nil {
		panic(err)
	}
	run, err := plan.Resolve(cfg, 2)
	if err != nil {
		panic(err)
	}
	fmt.Println(run.Args.Params(), "parameters")
	fmt.Print(run.Plan)
	// Output:
	// 2753792 parameters
	// float8  every Linear but ["output"]: i:dyn_ten_e4m3,w:dyn_ten_e4m3,go:dyn_ten_e5m2, weights travel as float8
	// fsdp    tok_embeddings
	// fsdp    layers.*
	// fsdp    norm+output
	// fsdp    parameters and activations in bfloat16, reshard after forward: default
}
