// SPDX-License-Identifier: Apache-2.0

package preflight_test

import (
	"fmt"
	"strings"

	"octet/config"
	"octet/train/preflight"
)

// A model that eight ranks of one host cannot hold is refused before any of them
// starts; one that fits is resolved, to be trained by package train.
func ExampleCheck() {
	for _, flavor := range []string{"8B", "debugmodel"} {
		cfg, err := config.Load(strings.Fields("--training.dataset=tokens --training.dataset_path=../../testdata/golden/llama_tokens.u16 --model.flavor=" + flavor))
		if err != nil {
			panic(err)
		}
		run, err := preflight.Check(cfg, 8, 8, 64<<30) // bytes that are free
		if err != nil {
			refusal, _, _ := strings.Cut(err.Error(), ":")
			fmt.Println("refused:", refusal)
			continue
		}
		fmt.Println(run.Args.Params(), "parameters on", run.Ranks, "ranks")
	}
	// Output:
	// refused: model.flavor = "8B"
	// 6163712 parameters on 8 ranks
}
