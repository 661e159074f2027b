// SPDX-License-Identifier: Apache-2.0

package nn

import "iter"

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
	h := c.Op(func(h *Var) {
		g, u := gate.Value.Tensor, up.Value.Tensor
		dg, du := gate.gradFrom(c, 1), up.gradFrom(c, 1)
		c.Stream.SwiGLUGrad(dg, du, h.Grad().Tensor, g, u, gate.gradAmax(c), up.gradAmax(c))
	}, gate.Shape()...)
	c.Stream.SwiGLU(h.Value.Tensor, gate.Keep(), up.Keep(), h.amaxFor(c, &f.W2))
	gate.Done(c)
	up.Done(c)
	return Last(c, f.W2, h)
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
	for i, m := range s.Modules {
		if i == 0 {
			x = m.Forward(c, x)
		} else {
			x = Last(c, m, x)
		}
	}
	return x
}
