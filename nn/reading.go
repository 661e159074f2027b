// SPDX-License-Identifier: Apache-2.0

package nn

import "octet/tensor"

// reading is on a tape where a Linear, whose Caster is an Agreer, has read x and made y.
type reading struct {
	by       Agreer
	x, y     *Var
	end      int      // steps on the tape, this one's included
	before   *reading // what read x in the step before; nil: none did
	followed bool     // it is the before of another
}

// read notes that a Linear's step, the newest, makes y of x; nil: its gradient needs no agreement. Between two that follow
// one another nothing has read the first one's y, so that in backward its gradient is complete when the other one's is.
func (t *Tape) read(by Caster, x, y *Var) *reading {
	a, ok := by.(Agreer)
	if !ok || !a.Agrees(by) {
		return nil
	}
	r := &reading{by: a, x: x, y: y, end: len(t.steps)}
	if b := t.last; b != nil && b.x == x && b.end == r.end-1 && a.Agrees(b.by) {
		b.followed, r.before = true, b
	}
	t.last = r
	return r
}

// agree makes the scales of all gradients that are complete when the newest one is.
func (r *reading) agree(c *Ctx) {
	if r == nil || r.followed || r.before == nil {
		return
	}
	var by []Agreer
	var dy []tensor.Operand
	for ; r != nil; r = r.before {
		if g := r.y.Grad(); g.Tensor != nil { // else the step says so
			by, dy = append(by, r.by), append(dy, g)
		}
	}
	if len(by) > 0 {
		by[0].Agree(c, by, dy)
	}
}
