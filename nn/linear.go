// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"iter"

	"octet/device"
	"octet/tensor"
)

// Linear is y = x·Wᵀ + b with W [N,K]. It is always cast, cast, matmul, three
// times; the Caster decides what the casts are.
type Linear struct {
	Leaf
	Weight *Param // [N,K]
	Bias   *Param // [N], or nil
	Caster Caster
}

// LinearOptions are how a Linear starts.
type LinearOptions struct {
	Init Init
	Bias bool // starts at 0
}

// NewLinear describes a Linear from k inputs to n outputs.
func NewLinear(k, n int, o LinearOptions) *Linear {
	l := &Linear{Weight: NewParam(o.Init, n, k), Caster: HighPrecision{}}
	if o.Bias {
		l.Bias = NewParam(Constant(0), n)
	}
	return l
}

// Params yields weight and bias.
func (l *Linear) Params() iter.Seq2[string, *Param] {
	return func(yield func(string, *Param) bool) {
		if yield("weight", l.Weight) && l.Bias != nil {
			yield("bias", l.Bias)
		}
	}
}

// Forward takes x [..., K] to y [..., N].
func (l *Linear) Forward(c *Ctx, x *Var) *Var {
	shape := append([]int(nil), x.Value.Shape...)
	out := append(append([]int(nil), shape[:len(shape)-1]...), l.Weight.Shape[0])
	y := &Var{Value: c.New(out...)}

	w := l.Caster.Cast(c, Weight, l.Weight.Use)
	c.Stream.MatMul(y.Value, x.Cast(c, l.Caster, In), w, device.MatMulOptions{TransB: true, FastAccum: l.Caster.FastAccum(Output)})
	c.release(w, l.Weight.Use)
	if l.Bias != nil {
		c.Stream.AddBias(y.Value, l.Bias.Use.Tensor)
	}
	if !l.Caster.Alike(In, InForGW) {
		x.Keep()
	}
	c.Tape.Defer(func() { l.backward(c, x, y, shape) })
	return y
}

func (l *Linear) backward(c *Ctx, x, y *Var, shape []int) {
	dy := tensor.Operand{Tensor: y.Grad}
	go8 := l.Caster.Cast(c, GradOut, dy)
	if !x.input {
		w := l.Caster.Cast(c, WeightForGI, l.Weight.Use)
		dx, acc := x.GradTarget(c, shape)
		c.Stream.MatMul(dx, go8, w, device.MatMulOptions{Accumulate: acc, FastAccum: l.Caster.FastAccum(GradInput)})
		c.release(w, l.Weight.Use)
	}
	forGW := go8
	if !l.Caster.Alike(GradOut, GradOutForGW) {
		forGW = l.Caster.Cast(c, GradOutForGW, dy)
	}
	dw, acc := l.Weight.GradTarget()
	c.Stream.MatMul(dw, forGW, x.Cast(c, l.Caster, InForGW), device.MatMulOptions{TransA: true, Accumulate: acc, FastAccum: l.Caster.FastAccum(GradWeight)})
	if l.Bias != nil {
		l.Bias.addGrad(c, func(db *tensor.Tensor) { c.Stream.BiasGrad(db, y.Grad) })
	}
	if forGW.Tensor != go8.Tensor {
		c.release(forGW, dy)
	}
	c.release(go8, dy)
	y.free(c)
}
