// SPDX-License-Identifier: Apache-2.0

package parallel

import (
	"fmt"
	"math"

	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// anomalies are the checks of one step for values that are not finite, in the order in
// which the device makes them, which is that of all ranks: the largest magnitude of a
// tensor, which keeps infinities and NaN.
type anomalies struct {
	names  []string
	blocks []*tensor.Tensor // float32 [checksInBlock] each, of which the names fill the first
	seen   map[*nn.Var]bool // that have been checked in this microbatch
	where  string           // the microbatch, if there are several
}

// checksInBlock is how many checks a tensor of a step's results has.
const checksInBlock = 1 << 10

// begin forgets the step before.
func (a *anomalies) begin() {
	if a != nil {
		a.names, a.where = nil, "" // the names belong to the step's report
	}
}

// microbatch begins one.
func (a *anomalies) microbatch(i, of int) {
	if a == nil {
		return
	}
	a.seen = map[*nn.Var]bool{}
	if a.where = ""; of > 1 {
		a.where = fmt.Sprintf(" in microbatch %d of %d", i+1, of)
	}
}

// check enqueues the check of t, unless it holds no numbers of high precision.
func (a *anomalies) check(c *nn.Ctx, name string, t *tensor.Tensor) {
	if t == nil || t.Type != dtype.Float32 && t.Type != dtype.BFloat16 {
		return
	}
	block, at := len(a.names)/checksInBlock, len(a.names)%checksInBlock
	if block == len(a.blocks) {
		a.blocks = append(a.blocks, c.Pool.Lasting().New(dtype.Float32, checksInBlock))
	}
	c.Stream.Amax(a.blocks[block].Rows(at, at+1), []*tensor.Tensor{t})
	a.names = append(a.names, name+a.where)
}

// params checks what of returns of each parameter.
func (a *anomalies) params(c *nn.Ctx, what string, params []*nn.Param, of func(*nn.Param) *tensor.Tensor) {
	if a == nil {
		return
	}
	a.where = ""
	for _, p := range params {
		a.check(c, what+p.Name, of(p))
	}
}

// report has all ranks know what each of them found.
func (a *anomalies) report(c *nn.Ctx, world comm.Comm) *report {
	if a == nil {
		return nil
	}
	r := &report{names: a.names, ranks: world.Size()}
	for first := 0; first < len(a.names); first += checksInBlock {
		mine := a.blocks[first/checksInBlock].Rows(0, min(checksInBlock, len(a.names)-first))
		all := c.Pool.New(dtype.Float32, world.Size()*mine.Dim(0))
		world.AllGather(c.Stream, comm.T(all), comm.T(mine))
		found := make([]float32, all.Dim(0))
		c.Stream.Download(device.Float32Bytes(found), all)
		c.Pool.Free(all)
		r.found = append(r.found, found)
	}
	return r
}

// report is what all ranks found in a step.
type report struct {
	names []string
	ranks int
	found [][]float32 // by block, then by rank
}

// first names the first tensor that is not finite, on the first rank where it is so.
func (r *report) first() error {
	if r == nil {
		return nil
	}
	for i, name := range r.names {
		block := r.found[i/checksInBlock]
		for rank := range r.ranks {
			switch x := float64(block[rank*len(block)/r.ranks+i%checksInBlock]); {
			case math.IsNaN(x):
				return fmt.Errorf("%s has a NaN on rank %d, the first value of the step that is not finite", name, rank)
			case math.IsInf(x, 0):
				return fmt.Errorf("%s has an infinity on rank %d, the first value of the step that is not finite", name, rank)
			}
		}
	}
	return nil
}

// watch decorates every module below root, innermost of all decorators.
func (a *anomalies) watch(root *nn.Module) {
	_ = nn.Walk(root, func(path string, m nn.Module) (nn.Module, error) {
		if path == "" {
			path = "the model"
		}
		return &watched{inner: m, name: path, log: a}, nil
	})
}

// watched is a module whose input, output and gradient of the input are checked.
type watched struct {
	nn.Leaf
	nn.NoParams
	inner nn.Module
	name  string
	log   *anomalies
}

var _ nn.Decorator = (*watched)(nil)

// Inner is the module.
func (w *watched) Inner() *nn.Module { return &w.inner }

// Forward checks what no module before has checked, of something that is recomputed the
// first time.
func (w *watched) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	if c.Mode == nn.Eval {
		return w.inner.Forward(c, x)
	}
	if c.Mode.Defers() {
		c.Tape.Defer(func() { w.log.check(c, "the gradient of the input of "+w.name, x.Grad().Tensor) })
	}
	w.value(c, "the input of ", x)
	y := w.inner.Forward(c, x)
	w.value(c, "the output of ", y)
	return y
}

func (w *watched) value(c *nn.Ctx, what string, v *nn.Var) {
	if c.Mode.Counts() && !w.log.seen[v] {
		w.log.seen[v] = true
		w.log.check(c, what+w.name, v.Value.Tensor)
	}
}
