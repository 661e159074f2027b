// SPDX-License-Identifier: Apache-2.0

// Package optim moves weights: Adam and AdamW over the local shards of
// parameters, clipping by the global norm, and the learning rate's schedule.
//
//	adam, err := optim.NewAdam(dev, s, params, optim.AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1})
//	clip := optim.NewClipper(pool, params)
//	lr := optim.Schedule{Warmup: 200, Total: 10000, Type: "cosine"}
//	for step := range 10000 {
//		… // forward and backward
//		clip.Measure(s, comm, 1.0)
//		adam.Step(s, clip.Coef, 8e-4*lr.Factor(step))
//	}
//
// parallel.Model.Step does what is in the loop, with any Optimizer.
package optim

import (
	"fmt"
	"slices"

	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// AdamOptions are the constants of Adam (arXiv 1412.6980) and AdamW (arXiv
// 1711.05101).
type AdamOptions struct {
	Beta1, Beta2, Eps, WeightDecay float64
	// L2 adds the weight decay to the gradient (Adam) instead of shrinking the
	// weights (AdamW).
	L2 bool
}

// Optimizer moves parameters by their gradients times coef (float32 [1]; nil: 1) at
// learning rate lr, all on s. Where coef is NaN it writes nothing. It counts its writes
// (nn.Param.Written).
type Optimizer interface {
	Step(s device.Stream, coef *tensor.Tensor, lr float64)
}

var _ Optimizer = (*Adam)(nil)

// Adam updates the local shards of parameters. All is elementwise, so it needs
// no communication.
type Adam struct {
	opts       AdamOptions
	params     []*nn.Param
	p, g, m, v []*tensor.Tensor // the real rows of each
	steps      *tensor.Tensor   // int32 [1]: updates made, counted by the device
}

// NewAdam allocates the moments of the parameters that are not frozen, zeroed on s.
func NewAdam(dev device.Device, s device.Stream, params []*nn.Param, o AdamOptions) (*Adam, error) {
	buf, err := dev.Alloc(dtype.Int32.Size())
	if err != nil {
		return nil, fmt.Errorf("optim: %w", err)
	}
	params = trainable(params)
	a := &Adam{opts: o, params: params, steps: tensor.New(buf, dtype.Int32, 1)}
	s.Zero(a.steps)
	for _, p := range params {
		local := p.Local()
		a.p, a.g = append(a.p, local), append(a.g, p.LocalGrad())
		for _, list := range []*[]*tensor.Tensor{&a.m, &a.v} {
			buf, err := dev.Alloc(max(1, local.Bytes()))
			if err != nil {
				return nil, fmt.Errorf("optim: moments of %s: %w", p.Name, err)
			}
			t := tensor.New(buf, dtype.Float32, local.Shape...)
			s.Zero(t)
			*list = append(*list, t)
		}
	}
	return a, nil
}

// trainable are those that an optimizer moves.
func trainable(params []*nn.Param) []*nn.Param {
	return slices.DeleteFunc(slices.Clone(params), (*nn.Param).Frozen)
}

// State is what an update reads beside weights and gradients, by name: of every
// parameter the moments "optim.m." and "optim.v." with its name, float32 and lying as
// it does, and the number of updates "optim.steps", int32 [1], alike on all ranks.
// It is Adam's own memory: what is loaded into it counts.
func (a *Adam) State() []nn.DTensor {
	var state []nn.DTensor
	for i, p := range a.params {
		state = append(state, p.Like("optim.m."+p.Name, a.m[i]), p.Like("optim.v."+p.Name, a.v[i]))
	}
	if len(a.params) > 0 {
		state = append(state, a.params[0].Alike("optim.steps", a.steps))
	}
	return state
}

// Step implements Optimizer; a coef that is NaN leaves moments and the number of
// updates as they are, too.
func (a *Adam) Step(s device.Stream, coef *tensor.Tensor, lr float64) {
	s.AdamW(a.p, a.g, a.m, a.v, a.steps, coef, device.AdamWOptions{
		LR: lr, Beta1: a.opts.Beta1, Beta2: a.opts.Beta2, Eps: a.opts.Eps, WeightDecay: a.opts.WeightDecay, L2: a.opts.L2,
	})
	for _, p := range a.params {
		p.Written()
	}
}

// Clipper measures the global norm of sharded gradients.
type Clipper struct {
	// Norm is the norm before clipping and Coef what gradients are to be
	// multiplied by; float32 [1], valid on the stream after Measure.
	Norm, Coef *tensor.Tensor
	sumsq      *tensor.Tensor
	grads      []*tensor.Tensor
}

// NewClipper prepares for the gradients of params, which the frozen ones have not. A part that several ranks have counts on one.
func NewClipper(pool *device.Pool, params []*nn.Param) *Clipper {
	c := &Clipper{}
	for _, p := range trainable(params) {
		if p.Primary() {
			c.grads = append(c.grads, p.LocalGrad())
		}
	}
	for _, t := range []**tensor.Tensor{&c.Norm, &c.Coef, &c.sumsq} {
		*t = pool.New(dtype.Float32, 1)
	}
	return c
}

// Measure enqueues Norm = sqrt(Σ g²) over all ranks of g and
// Coef = min(1, maxNorm/(Norm+1e-6)), as torch.nn.utils.clip_grad_norm_. A norm
// that is not finite makes Coef NaN, with which Adam writes nothing.
func (c *Clipper) Measure(s device.Stream, g comm.Comm, maxNorm float32) {
	s.SumSquares(c.sumsq, c.grads)
	g.AllReduce(s, comm.T(c.sumsq), comm.Sum)
	s.ClipCoef(c.Norm, c.Coef, c.sumsq, maxNorm)
}
