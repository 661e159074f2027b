// SPDX-License-Identifier: Apache-2.0

package hf_test

import (
	"fmt"
	"os"
	"path/filepath"

	"octet/checkpoint/safetensors"
	"octet/models/llama/hf"
)

// A folder of transformers' is read and written again, in another type.
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
	defer weights.Close()
	fmt.Println(config.Args.Params(), "parameters in", config.DType)

	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	config.DType = safetensors.BF16
	out := filepath.Join(dir, "bfloat16")
	fmt.Println(hf.Export(out, config, weights, hf.Options{}))
	config, err = hf.ReadConfig(out)
	fmt.Println(config.DType, err)
	// Output:
	// 92480 parameters in F32
	// <nil>
	// BF16 <nil>
}
