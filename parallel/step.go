// SPDX-License-Identifier: Apache-2.0

package parallel

import (
	"cmp"
	"errors"
	"fmt"
	"math"

	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/optim"
	"octet/tensor"
)

// StepOptions say what a step of training is.
type StepOptions struct {
	// Optimizer moves Model.Params, at learning rate LR.
	Optimizer optim.Optimizer
	LR        float64
	// MaxNorm is what the norm of all gradients together is clipped to; 0: not.
	MaxNorm float32
	// Count is how many terms the losses of this rank's microbatches have together:
	// targets of a cross-entropy, elements of a squared error. The loss is the mean over
	// the terms of all ranks.
	Count int
	// BeforeUpdate is what has to happen before the optimizer writes the weights, such as
	// the copy of a checkpoint.Saver; nil: nothing.
	BeforeUpdate device.Event
	// Vote, where it is set, is summed over the ranks (Result.Votes): for what they have to
	// decide alike after the step, such as to end. All ranks set it, or none.
	Vote *int32
	// Microbatches is how often the function is called, whose gradients add up; 0 is once.
	Microbatches int
	// Graph, where it is set, has the device launch forward and backward at once, as soon as it has captured them. The
	// function is then no longer called: it has to read the same memory in each step, which the caller fills before Step.
	Graph *Graph
}

// Result is what a step or an evaluation measured, alike on all ranks.
type Result struct {
	Loss     float64 // the mean
	MaxLoss  float64 // the largest mean over the terms of one rank
	GradNorm float64 // before clipping; 0 of an evaluation
	Count    int     // of terms, on all ranks
	// NotFinite are the delayed casts, as "layers.0.attention.wq (input)", that met a value
	// which is not finite in a step, on any rank: an infinite one shows nowhere else.
	NotFinite []string
	Stale     string // what fp8.Scales.Stale says, of weights that were written to past Step and Load
	Votes     int    // the sum of StepOptions.Vote
}

// ErrNoTerms is the error of a loss that is the mean over nothing.
var ErrNoTerms = errors.New("parallel: the losses of all ranks have no terms: StepOptions.Count, or what Model.Eval counts, is 0")

// Pending is a step that the device works on.
type Pending struct {
	model     *Model
	done      device.Event
	norm      [1]float32
	losses    []float32       // by rank: its terms' part of the mean, or in an evaluation their sum
	counts    []int32         // by rank: how many terms it has
	notFinite func() []string // nil of an evaluation
	anomalies *report
	votes     [1]int32
}

// Step trains once. For each microbatch it calls the function, which runs Forward and
// takes one loss (nn.CrossEntropy, nn.MeanSquaredError, or what it adds to c.Loss and
// sets as gradients, times c.Scale), and runs the backward; then it clips, has the
// optimizer move the weights, and prepares what is made of them. Nothing waits for the device:
//
//	pending := m.Step(parallel.StepOptions{Optimizer: adam, LR: 3e-4, Count: targets.Numel()}, func(c *nn.Ctx, _ int) {
//		nn.CrossEntropy(c, m.Forward(c, nn.Input(ids)), targets)
//	})
//	result, err := pending.Wait()
func (m *Model) Step(o StepOptions, microbatch func(c *nn.Ctx, i int)) *Pending {
	m.begin("Step")
	defer m.end()
	if o.Optimizer == nil {
		panic("parallel: Step without StepOptions.Optimizer: make one of Model.Params, for example optim.NewAdam")
	}
	if o.Count < 0 || o.Count > math.MaxInt32 {
		panic(fmt.Sprintf("parallel: StepOptions.Count is %d; want the number of terms of this rank's loss", o.Count))
	}
	c, s := m.ctx, m.ctx.Stream
	if m.sharded.Open() || !c.Tape.Empty() {
		panic("parallel: a Step before this one ended within its function, by a panic; what it left is half a step: make a new model")
	}
	p := &Pending{model: m}
	s.Upload(m.count, device.Int32Bytes([]int32{m.counted(o.Count)}))
	summed := comm.T(m.count)
	if o.Vote != nil {
		if m.votes == nil {
			m.votes = c.Pool.Lasting().New(dtype.Int32, 1)
		}
		s.Upload(m.votes, device.Int32Bytes([]int32{*o.Vote}))
		summed = append(summed, m.votes)
	}
	m.world.AllReduce(s, summed, comm.Sum)
	s.Reciprocal(m.scale, m.count)
	o.Graph.run(m, max(1, o.Microbatches), microbatch)
	p.notFinite = m.scales.NotFinite(s)
	m.clip.Measure(s, m.world, o.MaxNorm)
	p.gather(o.Count)
	s.Download(device.Float32Bytes(p.norm[:]), m.clip.Norm)
	if o.Vote != nil {
		s.Download(device.Int32Bytes(p.votes[:]), m.votes)
	}
	if o.BeforeUpdate != nil {
		s.Wait(o.BeforeUpdate)
	}
	before := m.writes()
	o.Optimizer.Step(s, m.clip.Coef, o.LR)
	if m.writes() == before {
		panic("parallel: the step's optimizer wrote none of Model.Params, or did not count it (nn.Param.Written), or all are frozen: make it of these parameters")
	}
	m.checks.params(c, "after the update the weight ", m.Params(), (*nn.Param).Local)
	p.anomalies = m.checks.report(c, m.world)
	m.precompute()
	p.done = s.Record()
	return p
}

// passes are a step's forward and backward passes, with all reductions: from weights and scales to gradients and
// the next delayed scales. Nothing in them depends on the step but through memory.
func (m *Model) passes(microbatches int, microbatch func(c *nn.Ctx, i int)) {
	c := m.ctx
	c.Stream.Zero(c.Loss)
	c.Scale = m.scale
	m.checks.begin()
	m.checks.params(c, "the weight ", m.Params(), (*nn.Param).Local)
	for i := range microbatches {
		m.checks.microbatch(i, microbatches)
		m.sharded.Begin(c, i == microbatches-1)
		microbatch(c, i)
		c.Tape.Backward()
	}
	m.sharded.Finish(c)
	if m.tensor != nil {
		m.partial.Reduce(c, m.tensor)
	}
	m.checks.params(c, "the gradient of ", m.Params(), gradient)
	m.scales.SyncFloat8AmaxAndScaleHistory(c)
}

// counted is what the rank adds to a number of terms: of those that share modules and have the same data one counts it.
func (m *Model) counted(terms int) int32 {
	if m.tensor != nil && m.tensor.Rank() > 0 {
		return 0
	}
	return int32(terms)
}

// gather has every rank know the loss of each, and how many terms it is of.
func (p *Pending) gather(count int) {
	m, s := p.model, p.model.ctx.Stream
	p.losses, p.counts = make([]float32, m.data.Size()), make([]int32, m.data.Size())
	p.counts[m.data.Rank()] = int32(count) // for a device that computes nothing
	own := m.counts.Rows(m.data.Rank(), m.data.Rank()+1)
	s.Upload(own, device.Int32Bytes([]int32{int32(count)}))
	m.data.AllGather(s, comm.T(m.losses, m.counts), comm.T(m.ctx.Loss, own))
	s.Download(device.Float32Bytes(p.losses), m.losses)
	s.Download(device.Int32Bytes(p.counts), m.counts)
}

// loss is the sum of all ranks' losses, in float32 and in their order as collectives make sums; the largest that a rank's would be if all
// terms were as its own are on average; and how many there are.
func (p *Pending) loss() (sum, most float64, count int) {
	all, most := float32(0), math.Inf(-1)
	for rank, loss := range p.losses {
		all += loss
		n := int(p.counts[rank])
		count += n
		if mean := float64(loss) / float64(n); n > 0 && !(mean <= most) { // NaN too
			most = mean
		}
	}
	return float64(all), most * float64(count), count
}

// gradient is the rank's part, if there is one.
func gradient(p *nn.Param) *tensor.Tensor {
	if p.Frozen() {
		return nil
	}
	return p.LocalGrad()
}

// Wait is the step's result. A gradient norm that is not finite is an error, and has
// left the weights and the optimizer as they were. So is what Plan.DetectAnomaly finds.
func (p *Pending) Wait() (Result, error) {
	if err := p.done.Sync(); err != nil {
		return Result{}, cmp.Or(p.model.Sync(), err)
	}
	r := Result{GradNorm: float64(p.norm[0]), Votes: int(p.votes[0]), Stale: p.model.scales.Stale()}
	r.Loss, r.MaxLoss, r.Count = p.loss()
	if p.notFinite != nil {
		r.NotFinite = p.notFinite()
	}
	if r.Count == 0 {
		return r, ErrNoTerms
	}
	err := p.anomalies.first()
	if math.IsNaN(r.GradNorm) || math.IsInf(r.GradNorm, 0) {
		norm := fmt.Errorf("the gradient norm is %v (loss %v); the weights are those of the step before", r.GradNorm, r.Loss)
		if err == nil {
			return r, norm
		}
		err = fmt.Errorf("%w: %w", err, norm)
	}
	return r, err
}

// Eval measures the loss without training: for each batch it calls the function, which
// runs Forward, takes one loss, and returns how many terms that has. It changes nothing
// that training reads, and waits.
func (m *Model) Eval(batches int, batch func(c *nn.Ctx, i int) (count int, err error)) (Result, error) {
	m.begin("Eval")
	defer m.end()
	c, s := m.ctx, m.ctx.Stream
	c.Mode, c.Scale = nn.Eval, m.one
	defer func() { c.Mode = nn.Train }()
	p, terms := &Pending{model: m}, 0
	s.Zero(c.Loss)
	for i := range batches {
		m.sharded.Begin(c, false)
		n, err := batch(c, i)
		if err != nil {
			return Result{}, err
		}
		terms += n
	}
	p.gather(terms)
	p.done = s.Record()
	r, err := p.Wait()
	r.Loss, r.MaxLoss = r.Loss/float64(r.Count), r.MaxLoss/float64(r.Count)
	return r, err
}

// begin notes which method runs; a function that it calls may call neither it nor
// another one.
func (m *Model) begin(method string) {
	if m.running != "" {
		panic(fmt.Sprintf("parallel: %s within the function of %s: call it after %s has returned", method, m.running, m.running))
	}
	if m.clip == nil {
		panic(fmt.Sprintf("parallel: %s of a model without values: call Model.Init or Model.Load first", method))
	}
	m.running = method
}

func (m *Model) end() { m.running, m.ctx.Scale = "", nil }

// writes is how often parameters were written to, all together.
func (m *Model) writes() (n uint64) {
	for _, p := range m.Params() {
		n += p.Version()
	}
	return n
}
