// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"fmt"

	"octet/config"
)

// The command line wins over the file, the file over the defaults.
func ExampleLoad() {
	cfg, err := config.Load([]string{"--config", "../configs/debugmodel.toml", "--training.steps=20"})
	if err != nil {
		panic(err)
	}
	fmt.Println(cfg.Model.Flavor, cfg.Training.Steps, "steps in float8:", cfg.Float8Enabled())
	_, err = config.Load([]string{"--training.step=20", "--optimizer.lr=fast"})
	fmt.Println(err)
	// Output:
	// debugmodel 20 steps in float8: true
	// 2 problems:
	// 	unknown flag --training.step; did you mean --training.steps?
	// 	--optimizer.lr: "fast" is not a float
}

// What depends on the number of ranks is judged when that is known.
func ExampleConfig_Validate() {
	cfg := config.Default()
	cfg.Parallelism.DataParallelShardDegree = 3
	fmt.Println(cfg.Validate(config.AnyWorld))
	fmt.Println(cfg.Validate(4))
	// Output:
	// <nil>
	// parallelism.data_parallel_shard_degree = 3: the degrees multiply to 3 × data_parallel_replicate_degree 1 × tensor_parallel_degree 1 = 3, but the world size is 4; use 4, or -1 for whatever is left
}
