// SPDX-License-Identifier: Apache-2.0

package optim_test

import (
	"fmt"

	"octet/backend"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/nn"
	"octet/optim"
)

// Adam moves the rows that a rank has of parameters that were sharded; here one of two
// elements, by hand. Its first step is the learning rate, against the gradient.
// parallel.Model.Step measures, clips and calls it.
func Example() {
	dev, err := backend.OpenDevice(backend.Options{})
	if err != nil {
		panic(err)
	}
	defer dev.Close()
	s, pool := dev.NewStream("main"), device.NewPool(dev)
	p := nn.NewParam(nn.Constant(0), 2)
	p.Name = "w"
	p.Place(dtensor.Alone(2), 0)
	p.Shard, p.Grad = pool.New(dtype.Float32, 2), pool.New(dtype.Float32, 2)
	p.Set(s, []float32{1, 1})
	s.Upload(p.Grad, device.Float32Bytes([]float32{3, -4}))

	adam, err := optim.NewAdam(dev, s, []*nn.Param{p}, optim.AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
	if err != nil {
		panic(err)
	}
	adam.Step(s, nil, 0.125)
	got := make([]float32, 2)
	s.Download(device.Float32Bytes(got), p.Shard)
	err = s.Sync()
	fmt.Println(got, err)
	// Output: [0.875 1.125] <nil>
}

func ExampleSchedule() {
	s := optim.Schedule{Warmup: 2, Total: 6, Type: "linear"}
	for i := range 6 {
		fmt.Printf("%.2f ", s.Factor(i))
	}
	// Output: 0.50 1.00 1.00 0.75 0.50 0.25
}
