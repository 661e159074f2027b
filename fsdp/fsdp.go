// SPDX-License-Identifier: Apache-2.0

// Package fsdp shards every parameter of a model by rows over the ranks of one
// mesh axis (fully sharded data parallel, as PyTorch's FSDP2): each unit
// gathers its parameters before it runs, frees them after, and in backward
// gathers again, reduce-scatters the gradients and frees. A group of one rank
// runs the same code. Over an axis of replicas (HSDP; with one shard each, DDP) the
// reduced gradients are all-reduced, once a step.
//
//	g := grid.Line(comm, fsdp.Axis)             // or any mesh with that axis
//	f, err := fsdp.Shard(&model, g, fsdp.Options{Param: dtype.BFloat16}, isUnit)
//	err = f.Allocate(dev)                       // memory for shards and gradients
//	… p.Draw(s, seed) for every p of f.Params() …
//	f.Begin(c, true)                            // a microbatch, the step's last; c: *nn.Ctx
//	y := model.Forward(c, x); …; c.Tape.Backward()
//	f.Finish(c)                                 // c's stream now sees all gradients
//	… p.Local(), p.LocalGrad() …
//
// parallel.Model makes these calls in their order, with what comes before and after.
//
// Streams: C computes (the Ctx's), AG packs and gathers, RS reduces, and AR sums over
// replicas. While C runs unit i, AG gathers unit i+1, and in backward RS reduces unit i+1. Buffers
// belong to the stream that wrote them and go back to its pool once that stream
// waits for their last use; so at most two gathered units exist, however far
// the host runs ahead.
package fsdp

import (
	"cmp"
	"fmt"
	"slices"

	"octet/comm"
	"octet/comm/grid"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// The axes of a mesh that fsdp knows: of shards, and of replicas of them, which there need not be. Along any other axis ranks have other
// parts of weights, whose scales they agree on.
const (
	Axis        = "fsdp"
	ReplicaAxis = "dp_replicate"
)

// Reshard says when gathered parameters are freed after forward.
type Reshard string

// The policies, by torchtitan's names. ReshardDefault keeps only the unit that
// backward needs first.
const (
	ReshardDefault Reshard = "default"
	ReshardAlways  Reshard = "always"
	ReshardNever   Reshard = "never"
)

// Options of a sharded model.
type Options struct {
	Param   dtype.Type // gather and compute type of parameters without a Wire: float32 or bfloat16
	Reshard Reshard
	Reduce  comm.Reduction // of gradients; nil: comm.SumReduction
}

// FSDP is what the units of one model on one rank share.
type FSDP struct {
	opts     Options
	grid     *grid.Grid
	gather   comm.Comm // of all-gathers, on AG
	reduce   comm.Comm // of reduce-scatters, on RS: separate, so that they may overlap
	replicas comm.Comm // of all-reduces between replicas, on AR; nil: there is one
	scales   comm.Comm // of scales a Wire must agree on while packing, on AG

	ag, rs, ar     device.Stream
	agPool, rsPool *device.Pool
	grads          *device.Pool // of compute's stream: whole gradients

	units   []*unit // in the order of the model
	params  []*nn.Param
	order   []*unit   // of the last forward; the model's order before the first
	pass    *pass     // the forward that runs
	begun   bool      // between Begin and Finish
	last    bool      // no microbatch of the step comes after this one
	writes  uint64    // to all parameters, when the step began
	pending reduction // the last one; none is the zero value
}

// pass is the order in which the units of one microbatch ran forward. Its backward
// holds on to it, whatever other microbatches begin in between.
type pass struct {
	units []*unit
}

// reduction is a reduce-scatter whose inputs are not yet free.
type reduction struct {
	grads []*tensor.Tensor
	done  device.Event
}

// Shard makes a unit (what fully_shard is called on) of every module below root that isUnit
// names, and of root itself for the parameters that are in none. A unit holds the
// parameters below it that no unit further down took; parameters get their names.
// It makes groups of g, so every rank must call it.
func Shard(root *nn.Module, g *grid.Grid, o Options, isUnit func(path string, m nn.Module) bool) (*FSDP, error) {
	if o.Param != dtype.Float32 && o.Param != dtype.BFloat16 {
		return nil, fmt.Errorf("fsdp: Options.Param is %v; want dtype.Float32 or dtype.BFloat16", o.Param)
	}
	if at, ok := unitIn(root); ok {
		return nil, fmt.Errorf("fsdp: %s is a unit already: a model is sharded once", named(at))
	}
	nn.AssignNames(*root)
	if o.Reshard == "" {
		o.Reshard = ReshardDefault
	}
	if o.Reduce == nil {
		o.Reduce = comm.SumReduction{}
	}
	f := &FSDP{opts: o, grid: g, pass: &pass{}}
	if err := f.connect(); err != nil {
		return nil, err
	}
	f.wrap(root, isUnit)
	return f, nil
}

// unitIn finds a unit that root has already, of any FSDP.
func unitIn(root *nn.Module) (at string, found bool) {
	_ = nn.Walk(root, func(path string, m nn.Module) (nn.Module, error) {
		if _, ok := m.(*unit); ok {
			at, found = path, true
		}
		return m, nil
	})
	return at, found
}

// named is a unit's path; the root's is empty.
func named(path string) string {
	if path == "" {
		return "(root)"
	}
	return path
}

// connect makes a group for what each stream does.
func (f *FSDP) connect() error {
	type group struct {
		to   *comm.Comm
		name string
		axes []string
	}
	groups := []group{{&f.gather, Axis, []string{Axis}}, {&f.reduce, "fsdp.reduce", []string{Axis}}, {&f.scales, "fsdp.scales", f.grid.Without(ReplicaAxis)}}
	if f.grid.Has(ReplicaAxis) {
		groups = append(groups, group{&f.replicas, "fsdp.replicas", []string{ReplicaAxis}})
	}
	for _, g := range groups {
		c, err := f.grid.Fresh(g.name, g.axes...)
		if err != nil {
			return fmt.Errorf("fsdp: %w", err)
		}
		*g.to = c
	}
	return nil
}

func (f *FSDP) wrap(root *nn.Module, isUnit func(path string, m nn.Module) bool) {
	taken := map[*nn.Param]bool{}
	whole := *root
	for _, p := range nn.Parameters(whole) {
		if p.Wire == nil {
			p.Wire = CastWire{f.opts.Param}
		}
	}
	shared := sharedParams(whole)
	_ = nn.Walk(root, func(path string, m nn.Module) (nn.Module, error) { // never fails
		if path != "" && !isUnit(path, m) {
			return m, nil
		}
		u := &unit{fsdp: f, name: path, inner: m}
		for _, p := range nn.Parameters(m) {
			if !taken[p] && (path == "" || !shared[p]) {
				taken[p] = true
				u.params = append(u.params, p)
			}
		}
		if len(u.params) == 0 {
			return m, nil
		}
		u.whole = make([]nn.Whole, len(u.params))
		f.params = append(f.params, u.params...)
		if path == "" {
			f.units = append([]*unit{u}, f.units...)
			u.keep = f.opts.Reshard != ReshardAlways
		} else {
			f.units = append(f.units, u)
		}
		return u, nil
	})
	f.order = append(f.order, f.units...)
}

// sharedParams are those that several modules use (a tied embedding). They
// belong to the root unit, which is gathered as long as any of them runs.
func sharedParams(m nn.Module) map[*nn.Param]bool {
	shared, seen := map[*nn.Param]bool{}, map[*nn.Param]bool{}
	var visit func(m nn.Module)
	visit = func(m nn.Module) {
		m = nn.Base(m)
		for _, p := range m.Params() {
			shared[p] = seen[p]
			seen[p] = true
		}
		for _, child := range m.Children() {
			visit(*child)
		}
	}
	visit(m)
	return shared
}

// Params are all parameters, in the order of the units.
func (f *FSDP) Params() []*nn.Param { return f.params }

// Allocate makes the streams and the memory of shards, and of the gradients of those that
// are not frozen, zeroed.
func (f *FSDP) Allocate(dev device.Device) error {
	for _, p := range f.params {
		if p.Shard != nil {
			return fmt.Errorf("fsdp: %s has memory already: it is allocated once, and in one sharded model", p.Name)
		}
	}
	f.ag, f.rs = dev.NewStream("all-gather"), dev.NewStream("reduce-scatter")
	f.agPool, f.rsPool, f.grads = device.NewPool(dev), device.NewPool(dev), device.NewPool(dev)
	if f.replicas != nil {
		f.ar = dev.NewStream("all-reduce")
	}
	rank := f.grid.World.Rank()
	for _, p := range f.params {
		layout := f.layout(p)
		p.Place(layout, rank)
		shape := layout.PaddedLocal(rank, Axis)
		for _, t := range []**tensor.Tensor{&p.Shard, &p.Grad} {
			if t == &p.Grad && p.Frozen() {
				continue
			}
			buf, err := dev.Alloc(max(1, dtype.Float32.Size()*p.RowSize()*shape[0]))
			if err != nil {
				return fmt.Errorf("fsdp: %s: %w", p.Name, err)
			}
			*t = tensor.New(buf, dtype.Float32, shape...)
			f.ag.Zero(*t)
		}
	}
	for _, u := range f.units {
		u.layout(f.gather.Size())
	}
	return f.ag.Sync()
}

// layout is how a parameter lies once it is sharded.
func (f *FSDP) layout(p *nn.Param) dtensor.Layout {
	l := p.Layout(f.grid.Mesh)
	if l.Placement(Axis).IsReplicate() {
		l = l.Place(Axis, dtensor.Shard(0))
	}
	return l
}

// Begin starts a microbatch, or a batch of evaluation: gathers wait for what c's
// stream has been given so far, the optimizer's update among it. After the last
// microbatch of a step no other adds to its gradients: they go to the replicas while backward goes on.
func (f *FSDP) Begin(c *nn.Ctx, last bool) {
	if f.ag == nil {
		panic("fsdp: Begin of a model without memory: call FSDP.Allocate first")
	}
	f.checkWrites()
	f.begun, f.last = true, last
	f.ag.Wait(c.Stream.Record())
	if len(f.pass.units) > 0 {
		f.order = f.pass.units
	}
	f.pass = &pass{units: make([]*unit, 0, len(f.order))}
}

// checkWrites refuses a pass over parameters that nobody gave values, and one that
// adds gradients to those of a step after which the weights were moved.
func (f *FSDP) checkWrites() {
	for _, p := range f.params {
		if p.Version() == 0 {
			panic(fmt.Sprintf("fsdp: Begin before %s has values: draw it (nn.Param.Draw) or load it (SetBox)", p.Name))
		}
	}
	if writes := writesTo(f.params); !f.Open() {
		f.writes = writes
	} else if f.writes != writes {
		panic("fsdp: Begin of a step's next microbatch, but parameters were written to since its first: call FSDP.Finish before the optimizer's Step")
	}
}

// Open reports whether gradients of a step's microbatches wait for Finish.
func (f *FSDP) Open() bool {
	return slices.ContainsFunc(f.units, func(u *unit) bool { return u.reduced })
}

// BeforeGathers calls do with the stream of the gathers, behind what c's stream has
// been given so far, with the group whose ranks share every parameter: for what
// the ranks must agree on before weights travel.
func (f *FSDP) BeforeGathers(c *nn.Ctx, do func(s device.Stream, pool *device.Pool, g comm.Comm)) {
	f.ag.Wait(c.Stream.Record())
	do(f.ag, f.agPool, f.scales)
}

// Finish ends a step's last microbatch: what follows on c's stream sees every
// gradient, and comes after all work of the other streams. Of a unit that no
// microbatch ran they are 0.
func (f *FSDP) Finish(c *nn.Ctx) {
	if !c.Tape.Empty() || !f.Open() {
		panic("fsdp: Finish before the backward of a microbatch: call Begin, Forward and Tape.Backward first")
	}
	f.release(c)
	c.Stream.Wait(f.ag.Record())
	for _, u := range f.units {
		if !u.reduced {
			for _, p := range u.params {
				if !p.Frozen() {
					c.Stream.Zero(p.Grad)
				}
			}
		} else if !u.shared { // by a microbatch before the last one
			u.share()
		}
		u.reduced, u.shared = false, false
	}
	if f.ar != nil {
		c.Stream.Wait(f.ar.Record())
	}
	f.begun = false
}

// Join has c's stream come after all that the other streams were given.
func (f *FSDP) Join(c *nn.Ctx) {
	for _, s := range []device.Stream{f.ag, f.rs, f.ar} {
		if s != nil {
			c.Stream.Wait(s.Record())
		}
	}
}

// Reserve keeps the memory of what was gathered and reduced, all of it free, for who launches that again
// (device.Pool.Reserve).
func (f *FSDP) Reserve() {
	for _, pool := range []*device.Pool{f.agPool, f.rsPool, f.grads} {
		pool.Reserve()
	}
}

// FullTensor is the whole of a parameter, float32 as the shards are, on every rank
// (DTensor.full_tensor). It waits.
func (f *FSDP) FullTensor(c *nn.Ctx, p *nn.Param) ([]float32, error) {
	part := grid.Tensor{Layout: p.Layout(f.grid.Mesh), Local: p.Local()}
	whole, err := f.grid.FullTensor(c.Stream, c.Pool, part)
	if err != nil {
		return nil, err
	}
	values := make([]float32, whole.Local.Numel())
	c.Stream.Download(device.Float32Bytes(values), whole.Local)
	if whole.Local != part.Local {
		c.Pool.Free(whole.Local)
	}
	return values, c.Stream.Sync()
}

// release frees the inputs of the last reduction once it is done.
func (f *FSDP) release(c *nn.Ctx) {
	if f.pending.done == nil {
		return
	}
	c.Stream.Wait(f.pending.done)
	for _, g := range f.pending.grads {
		f.grads.Free(g)
	}
	f.pending = reduction{}
}

// Peak is how many bytes gathered weights, whole gradients and their reductions took at
// most so far, the sum of what each took.
func (f *FSDP) Peak() int {
	if f.ag == nil {
		return 0
	}
	return f.agPool.Peak() + f.rsPool.Peak() + f.grads.Peak()
}

// Sync waits for the gathers and reductions and returns their first error.
func (f *FSDP) Sync() error {
	if f.ag == nil {
		return nil
	}
	err := cmp.Or(f.ag.Sync(), f.rs.Sync())
	if f.ar != nil {
		err = cmp.Or(err, f.ar.Sync())
	}
	return err
}
