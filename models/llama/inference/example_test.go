// SPDX-License-Identifier: Apache-2.0

package inference_test

import (
	"fmt"

	"octet/backend"
	"octet/dtype"
	"octet/models/llama/hf"
	"octet/models/llama/inference"
)

// A model that transformers made says what it thinks comes next.
func Example() {
	folder := "../../../testdata/hf/llama3"
	config, err := hf.ReadConfig(folder)
	if err != nil {
		panic(err)
	}
	weights, err := hf.Open(folder, config.Args)
	if err != nil {
		panic(err)
	}
	dev, err := backend.OpenDevice(backend.Options{})
	if err != nil {
		panic(err)
	}
	defer dev.Close()
	m, err := inference.Open(dev, config.Args, weights, inference.Options{Name: folder, MaxSeq: 32, Act: dtype.Float32})
	if err != nil {
		panic(err)
	}
	n := 0
	err = m.Generate(inference.Request{Prompt: []int32{5, 17, 20}, MaxNew: 8}, func(t inference.Token) bool {
		n++
		return true
	})
	fmt.Println(n, "tokens", err)
	// Output: 8 tokens <nil>
}
