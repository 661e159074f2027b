// SPDX-License-Identifier: Apache-2.0

package checkpoint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"octet/backend"
	"octet/checkpoint"
	"octet/checkpoint/safetensors"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/nn"
)

// A model's parameters are looked for by name and shape before anything is
// loaded; Load then fills the rows that each rank has of them.
func ExampleOpenWeights() {
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
		w, err := checkpoint.OpenWeights(path, params, nil)
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

// A Saver writes what a rank has of every tensor; Open finds them again, for ranks that
// may lie in another way.
func ExampleSaver() {
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	dev, err := backend.OpenDevice(backend.Options{})
	if err != nil {
		panic(err)
	}
	defer dev.Close()
	s, pool := dev.NewStream("main"), device.NewPool(dev)
	w := nn.DTensor{Name: "w", Layout: dtensor.Alone(2, 3), Local: pool.New(dtype.Float32, 2, 3)}
	s.Upload(w.Local, device.Float32Bytes([]float32{1, 2, 3, 4, 5, 6}))

	saver := checkpoint.NewSaver(dev, checkpoint.Options{Folder: folder, Ranks: checkpoint.Ranks{World: 1}, Async: true})
	copied, err := saver.Save(s, checkpoint.State{Tensors: []nn.DTensor{w}}, checkpoint.Run{Step: 10, Model: []byte(`{}`)})
	if err != nil {
		panic(err)
	}
	s.Wait(copied) // before the next write to w
	s.Zero(w.Local)
	if err := saver.Wait(); err != nil {
		panic(err)
	}

	list, err := checkpoint.Whole(folder)
	if err != nil {
		panic(err)
	}
	newest := list[len(list)-1]
	c, err := checkpoint.Open(newest.Dir)
	if err != nil {
		panic(err)
	}
	defer c.Close()
	got := make([]float32, 2)
	err = c.Read("w", dtensor.Box{Lo: []int{0, 2}, Hi: []int{2, 3}}, device.Float32Bytes(got))
	fmt.Println("step", newest.Step, "has", c.Names(), "and in w's last column", got, err)
	// Output: step 10 has [w] and in w's last column [3 6] <nil>
}
