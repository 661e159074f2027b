// SPDX-License-Identifier: Apache-2.0

package nn_test

import (
	"fmt"
	"iter"

	"octet/backend"
	"octet/device"
	"octet/dtype"
	"octet/nn"
)

// perceptron is a module of one's own: down(gelu(up(x))). A module with children
// writes Children and Forward, and its backward follows.
type perceptron struct {
	nn.NoParams
	up, gelu, down nn.Module
}

func (p *perceptron) Children() iter.Seq2[string, *nn.Module] {
	return nn.Slots(nn.Slot{Name: "up", At: &p.up}, nn.Slot{Name: "gelu", At: &p.gelu}, nn.Slot{Name: "down", At: &p.down})
}

func (p *perceptron) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	h := nn.Last(c, p.gelu, p.up.Forward(c, x)) // Last: nobody else reads what up returned
	return nn.Last(c, p.down, h)
}

// Parameters have the names of the slots that lead to them. They are shapes without
// memory until the model is sharded; package parallel's example trains such a module.
func Example() {
	m := &perceptron{
		up:   nn.NewLinear(16, 64, nn.LinearOptions{Init: nn.Normal(0.02), Bias: true}),
		gelu: nn.NewGELU(),
		down: nn.NewLinear(64, 16, nn.LinearOptions{Init: nn.Normal(0.02)}),
	}
	for name, p := range nn.Parameters(m) {
		fmt.Println(name, p.Shape)
	}
	// Output:
	// up.weight [64 16]
	// up.bias [64]
	// down.weight [16 64]
}

// twice is an operation of one's own: y = x + x.
func twice(c *nn.Ctx, x *nn.Var) *nn.Var {
	y := c.Op(func(y *nn.Var) {
		x.AddGrad(c, y)
		x.AddGrad(c, y)
	}, x.Shape()...)
	c.Stream.Add(y.Value.Tensor, x.Value.Tensor, x.Value.Tensor)
	return y
}

// An operation runs its kernels and says what its backward hands to its inputs.
func ExampleCtx_Op() {
	dev, err := backend.OpenDevice(backend.Options{})
	if err != nil {
		panic(err)
	}
	defer dev.Close()
	c := &nn.Ctx{Stream: dev.NewStream("main"), Pool: device.NewPool(dev), Tape: &nn.Tape{}, Act: dtype.Float32}
	in, dy := c.New(3), c.New(3)
	c.Stream.Upload(in, device.Float32Bytes([]float32{1, 2, 3}))
	c.Stream.Upload(dy, device.Float32Bytes([]float32{1, 0, -1}))

	x := nn.Watch(in)
	y := twice(c, x)
	values, grad := make([]float32, 3), make([]float32, 3)
	c.Stream.Download(device.Float32Bytes(values), y.Value.Tensor)
	y.SetGrad(dy)
	c.Tape.Backward()
	c.Stream.Download(device.Float32Bytes(grad), x.Grad().Tensor)
	err = c.Stream.Sync()
	fmt.Println(values, grad, err)
	// Output: [2 4 6] [2 0 -2] <nil>
}

// A module that is recomputed keeps its input in place of all that its backward reads.
func ExampleRecompute() {
	dev, err := backend.OpenDevice(backend.Options{})
	if err != nil {
		panic(err)
	}
	defer dev.Close()
	for _, again := range []bool{false, true} {
		c := &nn.Ctx{Stream: dev.NewStream("main"), Pool: device.NewPool(dev), Tape: &nn.Tape{}, Act: dtype.Float32}
		s := &nn.Sequential{}
		for i := range 8 {
			var m nn.Module = &nn.Sequential{Names: []string{"gelu", "tanh", "relu"}, Modules: []nn.Module{nn.NewGELU(), nn.NewGELUTanh(), nn.NewReLU()}}
			if again {
				m = nn.Recompute(m, nn.KeepInput)
			}
			s.Names, s.Modules = append(s.Names, fmt.Sprint(i)), append(s.Modules, m)
		}
		s.Forward(c, nn.Watch(c.New(64, 64)))
		fmt.Println(c.Pool.Live()>>10, "KiB after forward")
	}
	// Output:
	// 272 KiB after forward
	// 144 KiB after forward
}
