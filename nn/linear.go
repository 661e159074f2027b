// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"iter"
	"slices"

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
	// Reduce, where there is one, makes y whole before the bias is added: where ranks have
	// parts of K, x·Wᵀ is one term of it on each (package tp). What it returns takes y's
	// place.
	Reduce func(c *Ctx, y *Var) *Var
	// Multiply, where there is one, computes a product of the Linear's in the stream's place: by the rows of a that
	// come, and of dst that leave (tp.Overlap).
	Multiply func(c *Ctx, which MatMul, dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions)
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

// readsAmax reports whether the Linear's cast as role begins with an amax.
func (l *Linear) readsAmax(role Role) bool {
	r, ok := l.Caster.(AmaxReader)
	return ok && r.ReadsAmax(role)
}

// readsAmax reports whether what is in a slot casts its input so.
func readsAmax(slot *Module) bool {
	if slot == nil {
		return false
	}
	switch m := Base(*slot).(type) {
	case *Linear:
		return m.readsAmax(In)
	case *Attention:
		return readsAmax(&m.WQ)
	case *FeedForward:
		return readsAmax(&m.W1)
	}
	return false
}

// Params yields weight and bias.
func (l *Linear) Params() iter.Seq2[string, *Param] {
	return func(yield func(string, *Param) bool) {
		if yield("weight", l.Weight) && l.Bias != nil {
			yield("bias", l.Bias)
		}
	}
}

// Buffers yields those of the Caster.
func (l *Linear) Buffers() iter.Seq2[string, *Buffer] {
	if s, ok := l.Caster.(Stateful); ok {
		return s.Buffers()
	}
	return func(func(string, *Buffer) bool) {}
}

// Forward takes x [..., K] to y [..., N].
func (l *Linear) Forward(c *Ctx, x *Var) *Var {
	later := InForGW
	if !c.Mode.Defers() || l.Weight.Frozen() {
		later = NoRole
	}
	in, forGW := x.Cast(c, l.Caster, In, later)
	last := len(x.Shape()) - 1
	out, there := c.result(c.kept.keeps(linear), c.Act, append(slices.Clone(x.Shape()[:last]), l.Weight.Shape[0])...)
	var read *reading
	y := c.op(func(y *Var) {
		read.agree(c)
		l.backward(c, x, y, forGW)
	}, out)
	if c.Mode.Defers() && (x.NeedsGrad() || !l.Weight.Frozen()) {
		read = c.Tape.read(l.Caster, x, y)
	}
	if y.again = there; !there {
		weight := l.Weight.Value()
		w, _ := l.Caster.Cast(c, weight, Weight, NoRole)
		l.multiply(c, Output, y.Value.Tensor, in, w, device.MatMulOptions{TransB: true})
		c.release(w, weight)
	}
	if l.Reduce != nil {
		whole := l.Reduce(c, y)
		y.Done(c)
		y = whole
	}
	y.amaxOfGrad = l.readsAmax(GradOut)
	if l.Bias != nil {
		l.Bias.addTo(c, y)
	}
	return y
}

// multiply is one of the three products.
func (l *Linear) multiply(c *Ctx, which MatMul, dst *tensor.Tensor, a, b tensor.Operand, o device.MatMulOptions) {
	o.FastAccum = l.Caster.FastAccum(which)
	if l.Multiply != nil {
		l.Multiply(c, which, dst, a, b, o)
		return
	}
	c.Stream.MatMul(dst, a, b, o)
}

// addTo adds a bias [N] to y [..., N], in place.
func (p *Param) addTo(c *Ctx, y *Var) {
	if !y.again {
		c.Stream.AddBias(y.Value.Tensor, p.Value().Tensor)
	}
	if c.Mode.Defers() {
		c.Tape.Defer(func() {
			if y.grad != nil { // or the operation that made y says so
				p.addGrad(c, func(db *tensor.Tensor) { c.Stream.BiasGrad(db, y.Grad().Tensor) })
			}
		})
	}
}

// castGrad makes the operands of a gradient dy [M,N]. An input that was gathered with a scale a row has these along the sum of
// grad_weight, where no matmul takes them: fold, [M,1], goes into dy before its cast for it.
//
//	dW[n,k] = Σ_m dY[m,n]·(X8[m,k]·r[m]) = Σ_m (dY[m,n]·r[m])·X8[m,k]
func (l *Linear) castGrad(c *Ctx, dy tensor.Operand, later Role, fold *tensor.Tensor) (now, forGW tensor.Operand) {
	if fold == nil {
		return l.Caster.Cast(c, dy, GradOut, later)
	}
	now, _ = l.Caster.Cast(c, dy, GradOut, NoRole)
	forGW, _ = l.Caster.Cast(c, tensor.Operand{Tensor: dy.Tensor, Inv: fold}, later, NoRole)
	return now, forGW
}

// backward takes y's gradient to those of x and the weight, where they are wanted.
func (l *Linear) backward(c *Ctx, x, y *Var, in tensor.Operand) {
	dy, later := y.Grad(), GradOutForGW
	if l.Weight.Frozen() {
		if later = NoRole; !x.NeedsGrad() {
			return
		}
	}
	fold := tensor.Operand{}
	if later != NoRole && in.Granularity() == tensor.PerRow {
		fold, in.Scale, in.Inv = in, nil, nil
	}
	now, forGW := l.castGrad(c, dy, later, fold.Inv)
	if x.NeedsGrad() {
		weight := l.Weight.Value()
		w, _ := l.Caster.Cast(c, weight, WeightForGI, NoRole)
		dx, acc := x.GradTarget(c)
		l.multiply(c, GradInput, dx, now, w, device.MatMulOptions{Accumulate: acc})
		c.release(w, weight)
	}
	if later != NoRole {
		dw, acc := l.Weight.GradTarget()
		l.multiply(c, GradWeight, dw, forGW, in, device.MatMulOptions{TransA: true, Accumulate: acc})
	}
	c.release(now, dy, forGW)
	c.release(forGW, dy)
}
