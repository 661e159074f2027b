// SPDX-License-Identifier: Apache-2.0

package nn_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"octet/device"
	"octet/device/cpu"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// rig runs one module on the portable kernels, with parameters that are not
// sharded.
type rig struct {
	*testing.T
	dev  *counting
	c    *nn.Ctx
	rand *rand.Rand
}

// counting counts what a device allocates.
type counting struct {
	device.Device
	allocs int
}

func (d *counting) Alloc(bytes int) (tensor.Buffer, error) {
	d.allocs++
	return d.Device.Alloc(bytes)
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dev, err := cpu.Open(cpu.Options{ISA: "portable"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	d := &counting{Device: dev}
	return &rig{
		T: t, dev: d, rand: rand.New(rand.NewPCG(1, 2)),
		c: &nn.Ctx{Stream: dev.NewStream("test"), Pool: device.NewPool(d), Tape: &nn.Tape{}, Act: dtype.Float32},
	}
}

// put makes a float32 tensor of x, in memory that no pool counts.
func (r *rig) put(x []float32, shape ...int) *tensor.Tensor {
	r.Helper()
	t := r.empty(dtype.Float32, shape...)
	r.c.Stream.Upload(t, device.Float32Bytes(x))
	return t
}

func (r *rig) empty(ty dtype.Type, shape ...int) *tensor.Tensor {
	r.Helper()
	n := ty.Size()
	for _, d := range shape {
		n *= d
	}
	buf, err := r.dev.Device.Alloc(max(1, n))
	if err != nil {
		r.Fatal(err)
	}
	return tensor.New(buf, ty, shape...)
}

// ids makes an int32 tensor.
func (r *rig) ids(x []int32, shape ...int) *tensor.Tensor {
	r.Helper()
	t := r.empty(dtype.Int32, shape...)
	r.c.Stream.Upload(t, device.Int32Bytes(x))
	return t
}

// normal draws n values of the given deviation.
func (r *rig) normal(n int, std float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.rand.NormFloat64() * std)
	}
	return x
}

// get reads a float32 tensor.
func (r *rig) get(t *tensor.Tensor) []float32 {
	r.Helper()
	raw := make([]byte, t.Bytes())
	r.c.Stream.Download(raw, t)
	if err := r.c.Stream.Sync(); err != nil {
		r.Fatal(err)
	}
	x := make([]float32, t.Numel())
	for i := range x {
		x[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return x
}

// load gives every parameter of m random values around 0, or around 1 for
// vectors, and memory for its gradient.
func (r *rig) load(m nn.Module) []*nn.Param {
	r.Helper()
	nn.AssignNames(m)
	var params []*nn.Param
	for _, p := range nn.Parameters(m) {
		x := r.normal(p.Numel(), 0.5)
		if len(p.Shape) == 1 {
			for i := range x {
				x[i] = 1 + x[i]/4
			}
		}
		p.Use = tensor.Operand{Tensor: r.put(x, p.Shape...)}
		p.FullGrad = r.empty(dtype.Float32, p.Shape...)
		params = append(params, p)
	}
	return params
}

// pass runs m on x and, with dy as the gradient of its output, backward. It
// returns the output. Gradients are in the parameters and, unless x is an input
// for which none is wanted, in x.
func (r *rig) pass(m nn.Module, x *nn.Var, dy []float32) []float32 {
	r.Helper()
	for _, p := range nn.Parameters(m) {
		p.HasGrad = false
	}
	y := m.Forward(r.c, x)
	got := r.get(y.Value)
	y.Grad = r.c.New(y.Value.Shape...)
	r.c.Stream.Upload(y.Grad, device.Float32Bytes(dy))
	r.c.Tape.Backward()
	return got
}

// dot is Σ a·b in float64.
func dot(a, b []float32) (sum float64) {
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

// off is |got - want| / |want| as vectors.
func off(got, want []float32) float64 {
	var d, n float64
	for i := range want {
		e := float64(got[i]) - float64(want[i])
		d += e * e
		n += float64(want[i]) * float64(want[i])
	}
	return math.Sqrt(d / n)
}
