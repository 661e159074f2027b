// SPDX-License-Identifier: Apache-2.0

package llama_test

import (
	"fmt"

	"octet/models/llama"
	"octet/nn"
)

// A model is shapes and names, torchtitan's, before anybody gives it memory.
func Example() {
	args, err := llama.Flavor("debugmodel")
	if err != nil {
		panic(err)
	}
	model, n := llama.New(args, 512), 0
	for name, p := range nn.Parameters(model) {
		if n < 3 {
			fmt.Println(name, p.Shape)
		}
		n++
	}
	fmt.Println(n, "parameters of", args.Params(), "elements")
	// Output:
	// tok_embeddings.weight [2048 256]
	// layers.0.attention_norm.weight [256]
	// layers.0.ffn_norm.weight [256]
	// 57 parameters of 6163712 elements
}
