// SPDX-License-Identifier: Apache-2.0

// Package nntest runs modules in tests: parameters that are whole on one rank,
// and gradients checked by finite differences.
//
//	r := nntest.New(t, dev, dtype.Float32)
//	l := nn.NewLinear(5, 3, nn.LinearOptions{})
//	r.Load(l, r.Random)
//	x := r.Put(r.Normal(10, 1), 2, 5)
//	y := r.Pass(l, nn.Input(x), dy)           // forward and backward
//	dw := r.Grad(l.Weight)
//	r.Gradient(l, x, 2*3)                     // its backward is the derivative of its forward
package nntest

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// Rig is a device with what a forward pass needs.
type Rig struct {
	*testing.T
	Device *Counting
	Ctx    *nn.Ctx
	rand   *rand.Rand
	whole  map[*nn.Param]*nn.Whole
}

// Counting counts what pools and others ask of the device, from one goroutine.
type Counting struct {
	device.Device
	Allocs, Bytes int
}

// Alloc counts and allocates.
func (d *Counting) Alloc(bytes int) (tensor.Buffer, error) {
	d.Allocs++
	d.Bytes += bytes
	return d.Device.Alloc(bytes)
}

// New makes a rig on the caller's device, whose activations are of type act.
func New(t *testing.T, dev device.Device, act dtype.Type) *Rig {
	d := &Counting{Device: dev}
	return &Rig{
		T: t, Device: d, rand: rand.New(rand.NewPCG(1, 2)), whole: map[*nn.Param]*nn.Whole{},
		Ctx: &nn.Ctx{Stream: dev.NewStream("test"), Pool: device.NewPool(d), Tape: &nn.Tape{}, Act: act},
	}
}

// Empty makes a tensor in memory of its own, outside Ctx's pool.
func (r *Rig) Empty(ty dtype.Type, shape ...int) *tensor.Tensor {
	r.Helper()
	n := ty.Size()
	for _, d := range shape {
		n *= d
	}
	buf, err := r.Device.Device.Alloc(max(1, n))
	if err != nil {
		r.Fatal(err)
	}
	return tensor.New(buf, ty, shape...)
}

// Put makes a float32 tensor of x.
func (r *Rig) Put(x []float32, shape ...int) *tensor.Tensor {
	r.Helper()
	return r.As(dtype.Float32, x, shape...)
}

// As makes a tensor of type ty of x, rounded.
func (r *Rig) As(ty dtype.Type, x []float32, shape ...int) *tensor.Tensor {
	r.Helper()
	wide := r.Empty(dtype.Float32, shape...)
	r.Ctx.Stream.Upload(wide, device.Float32Bytes(x))
	if ty == dtype.Float32 {
		return wide
	}
	narrow := r.Empty(ty, shape...)
	r.Ctx.Stream.Copy(narrow, wide)
	return narrow
}

// IDs makes an int32 tensor.
func (r *Rig) IDs(x []int32, shape ...int) *tensor.Tensor {
	r.Helper()
	t := r.Empty(dtype.Int32, shape...)
	r.Ctx.Stream.Upload(t, device.Int32Bytes(x))
	return t
}

// Normal draws n values of the given deviation.
func (r *Rig) Normal(n int, std float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.rand.NormFloat64() * std)
	}
	return x
}

// Get waits and reads a float32 or bfloat16 tensor.
func (r *Rig) Get(t *tensor.Tensor) []float32 {
	r.Helper()
	raw := r.Bytes(t)
	x := make([]float32, t.Numel())
	for i := range x {
		if t.Type == dtype.BFloat16 {
			x[i] = dtype.BF16(binary.LittleEndian.Uint16(raw[2*i:])).Float32()
		} else {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
	}
	return x
}

// Bytes waits and reads the memory of a tensor.
func (r *Rig) Bytes(t *tensor.Tensor) []byte {
	r.Helper()
	raw := make([]byte, t.Bytes())
	r.Ctx.Stream.Download(raw, t)
	if err := r.Ctx.Stream.Sync(); err != nil {
		r.Fatal(err)
	}
	return raw
}

// Random gives a parameter values around 0, or around 1 where it is a vector.
func (r *Rig) Random(p *nn.Param) []float32 {
	x := r.Normal(p.Numel(), 0.5)
	if len(p.Shape) == 1 {
		for i := range x {
			x[i] = 1 + x[i]/4
		}
	}
	return x
}

// Load names the parameters of m and gives them values, in Ctx's type, and
// memory for their gradients.
func (r *Rig) Load(m nn.Module, values func(*nn.Param) []float32) []*nn.Param {
	r.Helper()
	nn.AssignNames(m)
	var params []*nn.Param
	for _, p := range nn.Parameters(m) {
		w := &nn.Whole{Value: tensor.Operand{Tensor: r.As(r.Ctx.Act, values(p), p.Shape...)}, Grad: r.Empty(dtype.Float32, p.Shape...)}
		r.whole[p] = w
		p.Lend(w)
		params = append(params, p)
	}
	return params
}

// Loss makes memory for the losses of Ctx, times scale, and returns their sum.
func (r *Rig) Loss(scale float32) *tensor.Tensor {
	r.Helper()
	r.Ctx.Loss, r.Ctx.Scale = r.Put([]float32{0}, 1), r.Put([]float32{scale}, 1)
	return r.Ctx.Loss
}

// Grad waits and reads a parameter's gradient.
func (r *Rig) Grad(p *nn.Param) []float32 {
	r.Helper()
	return r.Get(r.whole[p].Grad)
}

// Pass runs m on x and, with dy as the gradient of its output, backward. It
// returns the output. Gradients are in the parameters and, unless x is an input
// for which none is wanted, in x.
func (r *Rig) Pass(m nn.Module, x *nn.Var, dy []float32) []float32 {
	r.Helper()
	y := m.Forward(r.Ctx, x)
	got := r.Get(y.Value.Tensor)
	r.Backward(m, y, dy)
	return got
}

// Backward runs backward with dy as the gradient of y, m's output.
func (r *Rig) Backward(m nn.Module, y *nn.Var, dy []float32) {
	r.Helper()
	for _, p := range nn.Parameters(m) {
		r.whole[p].HasGrad = false
	}
	g := r.Ctx.New(y.Shape()...)
	r.Ctx.Stream.Copy(g, r.Put(dy, y.Shape()...))
	y.SetGrad(g)
	r.Ctx.Tape.Backward()
}

// Distance is |got - want| / |want|, as vectors; infinite where they are of unequal length.
func Distance(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	var d, n float64
	for i := range want {
		d += (float64(got[i]) - float64(want[i])) * (float64(got[i]) - float64(want[i]))
		n += float64(want[i]) * float64(want[i])
	}
	return math.Sqrt(d / n)
}
