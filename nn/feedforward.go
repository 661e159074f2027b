// SPDX-License-Identifier: Apache-2.0

package nn

import (
	"iter"

	"octet/tensor"
)

// FeedForward is w2(silu(w1 x) · w3 x) (SwiGLU, arXiv 2002.05202).
type FeedForward struct {
	NoParams
	W1, W2, W3 Module
}

// Children yields w1, w3 and w2, in the order of use.
func (f *FeedForward) Children() iter.Seq2[string, *Module] {
	return Slots(Slot{"w1", &f.W1}, Slot{"w3", &f.W3}, Slot{"w2", &f.W2})
}

// Forward takes x [..., D] to [..., D].
func (f *FeedForward) Forward(c *Ctx, x *Var) *Var {
	gate, up := f.W1.Forward(c, x), f.W3.Forward(c, x)
	x.Done(c)
	h := &Var{Value: c.New(gate.Value.Shape...)}
	c.Stream.SwiGLU(h.Value, gate.Keep(), up.Keep())
	c.Tape.Defer(func() {
		// The gradients take the place of gate and up.
		gate.Grad, up.Grad = gate.take(), up.take()
		c.Stream.SwiGLUGrad(gate.Grad, up.Grad, h.Grad, gate.Grad, up.Grad)
		h.free(c)
	})
	y := f.W2.Forward(c, h)
	h.Done(c)
	return y
}

// CrossEntropy adds scale·Σ -log softmax(logits)[target] to loss (float32 [1])
// and starts the backward: logits' gradient takes the place of their values.
// logits [..., V], targets int32, -100 ignored, scale float32 [1].
func CrossEntropy(c *Ctx, loss *tensor.Tensor, logits *Var, targets, scale *tensor.Tensor) {
	t, v := logits.Value.Matrix()
	logits.Grad = logits.take()
	c.Stream.CrossEntropy(loss, logits.Grad.View(t, v), targets.View(t), scale)
}

// Sequential runs modules one after the other, under the given names.
type Sequential struct {
	NoParams
	Names   []string
	Modules []Module
}

// Children yields the modules.
func (s *Sequential) Children() iter.Seq2[string, *Module] {
	return func(yield func(string, *Module) bool) {
		for i, name := range s.Names {
			if !yield(name, &s.Modules[i]) {
				return
			}
		}
	}
}

// Forward passes x through all modules.
func (s *Sequential) Forward(c *Ctx, x *Var) *Var {
	for _, m := range s.Modules {
		y := m.Forward(c, x)
		x.Done(c)
		x = y
	}
	return x
}
