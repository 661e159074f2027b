// SPDX-License-Identifier: Apache-2.0

package checkpoint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"octet/checkpoint"
	"octet/checkpoint/safetensors"
	"octet/nn"
)

// A model's parameters are looked for by name and shape before anything is
// loaded; Load then fills the rows that each rank has of them.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "w.safetensors")
	if err := safetensors.Write(path, nil, []safetensors.Tensor{
		{Name: "head.weight", DType: safetensors.BF16, Shape: []int{2, 3}, Data: make([]byte, 12)},
		{Name: "step", DType: safetensors.I64, Data: make([]byte, 8)},
	}); err != nil {
		panic(err)
	}
	for _, in := range []int{3, 4} {
		var model nn.Module = &nn.Sequential{Names: []string{"head"}, Modules: []nn.Module{nn.NewLinear(in, 2, nn.LinearOptions{Init: nn.Normal(1)})}}
		nn.AssignNames(model)
		var params []*nn.Param
		for _, p := range nn.Parameters(model) {
			params = append(params, p)
		}
		w, err := checkpoint.Open(path, params, nil)
		if err != nil {
			fmt.Println("refused:", strings.TrimPrefix(err.Error(), "checkpoint.initial_load_path = "+path+": "))
			continue
		}
		fmt.Println("there; beside them:", w.Unused)
		w.Close()
	}
	// Output:
	// there; beside them: [step]
	// refused: head.weight has shape [2 3], the model wants [2 4]
}
