// SPDX-License-Identifier: Apache-2.0

package parallel

import (
	"cmp"
	"fmt"

	"octet/comm"
	"octet/comm/grid"
	"octet/device"
	"octet/dtype"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/optim"
	"octet/tensor"
	"octet/tp"
)

// Model is a module whose parameters are spread over ranks, as one of them has it,
// with all that its life needs: memory, streams, and the order of what is done.
//
//	Plan.Convert ─▶ Plan.Shard ─▶ Init or Load ─▶ Step, Eval, FullTensor: as often as wanted
//
// A call out of order, or a step that leaves something out, is a panic or an error
// that names what is missing. All ranks make the same calls.
type Model struct {
	plan    Plan
	root    nn.Module
	world   comm.Comm // for work on the compute stream
	data    comm.Comm // of world, those that have other data
	dev     device.Device
	sharded *fsdp.FSDP
	scales  fp8.Scales // that last longer than a cast
	ctx     *nn.Ctx
	overlap *tp.Overlap    // nil: activations travel on the compute stream
	partial tp.Partial     // parameters whose gradients are terms on the ranks of tensor
	tensor  comm.Comm      // those that have the same data; nil: none does
	clip    *optim.Clipper // nil before there is memory
	checks  *anomalies     // nil: none

	count      *tensor.Tensor // int32 [1]: what losses are the mean over, of all ranks
	losses     *tensor.Tensor // float32, by rank, of which nn.Ctx.Loss is this one's
	counts     *tensor.Tensor // int32, by rank: terms
	votes      *tensor.Tensor // int32 [1]: the sum of StepOptions.Vote; nil before there was one
	scale, one *tensor.Tensor // float32 [1]: 1/count; 1, of sums
	running    string         // the method that runs a function of the caller's
}

// Shard spreads the parameters of a model that was converted over the ranks of world;
// memory they get by Init or Load. From then on the model is what Shard returns: root
// and its parts run only inside it.
func (p Plan) Shard(root nn.Module, world comm.Comm, dev device.Device) (*Model, error) {
	if err := p.checkConverted(root); err != nil {
		return nil, err
	}
	mesh, err := p.Degrees.Mesh(world.Size())
	if err != nil {
		return nil, err
	}
	g, err := grid.New(mesh, world)
	if err != nil {
		return nil, err
	}
	m := &Model{plan: p, root: root, world: world, dev: dev}
	if m.data, err = dataGroup(g); err != nil {
		return nil, err
	}
	if p.DetectAnomaly {
		m.checks = &anomalies{}
		m.checks.watch(&m.root)
	}
	if g.Has(tp.Axis) {
		nn.AssignNames(m.root)
		m.tensor = g.Axis(tp.Axis)
		if err := p.checkRules(m.tensor.Size()); err != nil {
			return nil, err
		}
		if p.AsyncTensor {
			if m.overlap, err = tp.NewOverlap(g, dev); err != nil {
				return nil, err
			}
		}
		if m.partial, err = p.Tensor.Apply(&m.root, g, m.overlap); err != nil {
			return nil, err
		}
	}
	p.Recompute.apply(&m.root)
	if m.sharded, err = fsdp.Shard(&m.root, g, p.FSDP, func(at string, _ nn.Module) bool {
		_, ok := match(p.Units, at)
		return ok
	}); err != nil {
		return nil, err
	}
	m.scales = fp8.ScalesOf(m.root)
	m.ctx = &nn.Ctx{Stream: dev.NewStream("compute"), Pool: device.NewPool(dev), Tape: &nn.Tape{}, Act: p.FSDP.Param}
	return m, nil
}

// checkConverted finds a Linear that the plan wants in float8 and that is not.
func (p Plan) checkConverted(root nn.Module) error {
	if p.Float8 == nil {
		return nil
	}
	wanted, err := p.Float8.filter()
	if err != nil {
		return err
	}
	for _, l := range fp8.Linears(root) {
		if wanted(l.Linear, l.FQN) && !fp8.Converted(l.Linear) {
			return fmt.Errorf("parallel: the plan has Float8, but %s is not converted: call Plan.Convert before Plan.Shard", l.FQN)
		}
	}
	return nil
}

// Init makes the memory and draws every parameter as its nn.Init says: of a seed the
// same values on any number of ranks.
func (m *Model) Init(seed uint64) error {
	return m.Load(func(s device.Stream, params []*nn.Param) error {
		for _, p := range params {
			p.Draw(s, seed)
		}
		return nil
	})
}

// Load makes the memory, has write give the rank's part of every parameter its
// values (nn.Param.SetBox or Set), and prepares what is made of them. Later it may be
// called again, to write any of them.
func (m *Model) Load(write func(s device.Stream, params []*nn.Param) error) error {
	if m.clip == nil {
		if err := m.allocate(); err != nil {
			return err
		}
	}
	m.begin("Load")
	defer m.end()
	if err := write(m.ctx.Stream, m.Params()); err != nil {
		return err
	}
	for _, p := range m.Params() {
		if p.Version() == 0 {
			return fmt.Errorf("parallel: %s has no values: the function given to Model.Load must write every parameter (nn.Param.SetBox)", p.Name)
		}
	}
	m.precompute()
	return m.Sync()
}

func (m *Model) allocate() error {
	if err := m.sharded.Allocate(m.dev); err != nil {
		return err
	}
	c, pool := m.ctx, m.ctx.Pool.Lasting()
	m.clip = optim.NewClipper(pool, m.Params())
	m.count = pool.New(dtype.Int32, 1)
	m.losses, m.counts = pool.New(dtype.Float32, m.data.Size()), pool.New(dtype.Int32, m.data.Size())
	c.Loss = m.losses.Rows(m.data.Rank(), m.data.Rank()+1)
	m.scale, m.one = pool.New(dtype.Float32, 1), pool.New(dtype.Float32, 1)
	c.Stream.Upload(m.one, device.Float32Bytes([]float32{1}))
	m.scales.Allocate(c, m.world)
	return nil
}

// precompute makes the scales of the weights as they are now, beside what the compute
// stream does next.
func (m *Model) precompute() {
	if m.plan.Float8 != nil && m.plan.Float8.Precompute {
		m.sharded.BeforeGathers(m.ctx, m.scales.PrecomputeFloat8DynamicScaleForFSDP)
	}
}

// Forward runs the model, within a function that was given to Step or Eval.
func (m *Model) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	if m.running == "" {
		panic("parallel: Forward outside a step: call it in a function given to Model.Step or Model.Eval")
	}
	return m.root.Forward(c, x)
}

// Sync waits for all streams. The first error of the gathers is the cause of what
// follows on the compute stream.
func (m *Model) Sync() error {
	err := m.ctx.Stream.Sync()
	return cmp.Or(m.sharded.Sync(), m.overlap.Sync(), err)
}

// FullTensor is the whole of a parameter as its masters are, float32, on every rank:
// DTensor's full_tensor(). It waits.
func (m *Model) FullTensor(p *nn.Param) ([]float32, error) {
	m.begin("FullTensor")
	defer m.end()
	return m.sharded.FullTensor(m.ctx, p)
}

// Params are all parameters, of which the rank has its rows.
func (m *Model) Params() []*nn.Param { return m.sharded.Params() }

// Root is the model as decorated: for what looks at modules.
func (m *Model) Root() nn.Module { return m.root }

// Ctx is what passes run with: its stream and pool are for what they read and write.
func (m *Model) Ctx() *nn.Ctx { return m.ctx }

// Traffic is what a rank sends in a microbatch.
func (m *Model) Traffic() fsdp.Traffic { return m.sharded.Traffic() }

// Peak is how many bytes the rank's activations with their gradients took at most so far,
// and how many what its units gather and reduce did.
func (m *Model) Peak() (activations, units int) { return m.ctx.Pool.Peak(), m.sharded.Peak() }

// Plan is the table of what was applied, what is sharded how, and what is sent.
func (m *Model) Plan() string { return m.plan.String() + m.sharded.Plan() }
