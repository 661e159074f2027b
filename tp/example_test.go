// SPDX-License-Identifier: Apache-2.0

package tp_test

import (
	"fmt"

	"octet/comm/grid"
	"octet/comm/null"
	"octet/dtensor"
	"octet/nn"
	"octet/tp"
)

// A model of one's own on four ranks: a table of two rules cuts it. Here is what rank 1 has of it.
func Example() {
	var model nn.Module = &nn.Sequential{Names: []string{"up", "gelu", "down"}, Modules: []nn.Module{
		nn.NewLinear(64, 250, nn.LinearOptions{Bias: true}), nn.NewGELU(), nn.NewLinear(250, 64, nn.LinearOptions{Bias: true})}}
	nn.AssignNames(model)
	plan := tp.Plan{
		tp.For("up", tp.ColwiseParallel()),
		tp.For("down", tp.RowwiseParallel(tp.OutputLayouts(dtensor.Shard(0)))),
	}
	fmt.Print(plan)

	mesh, err := dtensor.NewMesh(4, dtensor.Axis{Name: tp.Axis, Size: 4})
	if err != nil {
		panic(err)
	}
	g, err := grid.New(mesh, null.New(1, 4))
	if err != nil {
		panic(err)
	}
	partial, err := plan.Apply(&model, g, nil)
	if err != nil {
		panic(err)
	}
	for name, p := range nn.Parameters(model) {
		fmt.Println(name, p.Shape)
	}
	fmt.Println("gradients to be added up:", partial[0].Name)
	// Output:
	// up    ColwiseParallel, Replicate to Shard(-1)
	// down  RowwiseParallel, Shard(-1) to Shard(0)
	// up.weight [63 64]
	// up.bias [63]
	// down.weight [64 63]
	// down.bias [64]
	// gradients to be added up: down.bias
}
