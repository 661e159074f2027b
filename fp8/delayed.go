// SPDX-License-Identifier: Apache-2.0

package fp8

import (
	"fmt"
	"iter"

	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// histories are the state of delayed scaling of a model's Linears, made at conversion
// where any cast is delayed: of each Linear a slot for its input, its weight and its
// grad_output. Those of casts that are not delayed are never written.
type histories struct {
	recipe *Recipe
	sites  []*site
	slots  []slot // all inputs, all weights, all grad_outputs, each in the order of the model
	memory device.AmaxHistories
	group  comm.Comm // all ranks that hold the Linears, on the stream that computes; nil before there is memory

	states uint64            // how many were given to slots
	known  map[string]uint64 // the state of what was loaded
	counts []int32           // of records that were not finite, as last told
}

// slot is the delayed scale of one tensor of a Linear. The host knows of it what is
// alike on all ranks, which run the same layers.
type slot struct {
	amax, history, scale nn.Buffer
	given                tensor.Operand // the scale and its reciprocal, [] each
	record               *tensor.Tensor // []
	own                  tensor.Operand // as given, of a weight that travels to be evaluated before there is one

	ready    bool // there is a scale: by amax init, a sync, or loaded
	recorded bool // since the last sync
	// Slots of one state have equal histories, scales and records. Each record makes a
	// new one; before it was before.
	state, before uint64
	content       [2]string // of history and scale, as loaded
}

// kinds are the tensors of a Linear, in the order of the slots and of their first roles.
var kinds = [...]string{nn.In: "input", nn.Weight: "weight", nn.GradOut: "grad_output"}

// newHistories gives each site its slots.
func newHistories(recipe *Recipe, sites []*site) *histories {
	n := len(sites)
	h := &histories{recipe: recipe, sites: sites, slots: make([]slot, len(kinds)*n), known: map[string]uint64{}, counts: make([]int32, len(kinds)*n)}
	h.memory.Pow2 = recipe.Config.RoundScalesToPowerOf2
	for i := range h.slots {
		format := recipe.Cast[i/n].Format
		h.memory.Formats = append(h.memory.Formats, format)
		h.slots[i].describe(h, format)
	}
	for i, k := range sites {
		k.histories, k.layer = h, i
	}
	return h
}

// describe makes the slot's buffers, without memory.
func (s *slot) describe(h *histories, format dtype.Type) {
	s.amax = nn.Buffer{Shape: []int{1}, First: format.Format().Max}
	s.history = nn.Buffer{Shape: []int{h.recipe.Config.DelayedScalingConfig.HistoryLen}, Loaded: func(_ device.Stream, entries []float32) {
		s.ready = false
		for _, amax := range entries {
			s.ready = s.ready || amax > 0
		}
		s.load(h, 0, entries)
	}}
	s.scale = nn.Buffer{Shape: []int{1}, First: 1, Loaded: func(on device.Stream, scale []float32) {
		on.Upload(s.given.Inv, device.Float32Bytes([]float32{1 / scale[0]}))
		s.load(h, 1, scale)
	}}
}

// load notes what a buffer was set to: slots of equal histories and scales may share
// their casts from now on.
func (s *slot) load(h *histories, part int, values []float32) {
	s.content[part] = string(device.Float32Bytes(values))
	key := s.content[0] + s.content[1]
	if _, ok := h.known[key]; !ok {
		h.states++
		h.known[key] = h.states
	}
	s.state, s.before = h.known[key], h.known[key]
}

// allocate makes the memory: one block of each thing, so that a sync is one collective
// and one kernel.
func (h *histories) allocate(c *nn.Ctx, g comm.Comm) {
	n, length := len(h.slots), h.recipe.Config.DelayedScalingConfig.HistoryLen
	block := func(first float32, shape ...int) *tensor.Tensor {
		t := c.Pool.Lasting().New(dtype.Float32, shape...)
		values := make([]float32, t.Numel())
		for i := range values {
			values[i] = first
		}
		c.Stream.Upload(t, device.Float32Bytes(values))
		return t
	}
	m := &h.memory
	m.Record, m.Scale, m.Inv, m.History = block(device.Unseen, n), block(1, n), block(1, n), block(0, n, length)
	m.Amax = c.Pool.Lasting().New(dtype.Float32, n)
	m.NotFinite = c.Pool.Lasting().New(dtype.Int32, n)
	c.Stream.Zero(m.NotFinite)
	amax := make([]float32, n)
	for i := range h.slots {
		s := &h.slots[i]
		amax[i] = s.amax.First
		s.record = m.Record.Rows(i, i+1).View()
		s.given = tensor.Operand{Scale: m.Scale.Rows(i, i+1).View(), Inv: m.Inv.Rows(i, i+1).View()}
		s.amax.Tensor, s.scale.Tensor, s.history.Tensor = m.Amax.Rows(i, i+1), m.Scale.Rows(i, i+1), m.History.Rows(i, i+1).View(length)
	}
	c.Stream.Upload(m.Amax, device.Float32Bytes(amax))
	h.group = g
}

// slot is that of the tensor which role is a use of.
func (k *site) slot(role nn.Role) *slot {
	return &k.histories.slots[int(forward(role))*len(k.histories.sites)+k.layer]
}

// Buffers are the state of the Linear's delayed scales, by the names of torchao's.
func (k *site) Buffers() iter.Seq2[string, *nn.Buffer] {
	return func(yield func(string, *nn.Buffer) bool) {
		if k.histories == nil {
			return
		}
		for role, kind := range kinds {
			s := k.slot(nn.Role(role))
			if !yield("fp8_amax_"+kind, &s.amax) || !yield("fp8_amax_history_"+kind, &s.history) || !yield("fp8_scale_"+kind, &s.scale) {
				return
			}
		}
	}
}

// delayedCast casts x by the scale of its slot, and records its amax. Evaluation does
// not, which before there is a scale takes x's own, nor does a recomputation, whose first
// pass did.
func (k *site) delayedCast(c *nn.Ctx, dst, dstT, x tensor.Operand, role nn.Role) {
	h, s := k.histories, k.slot(role)
	if c.Mode == nn.Eval && !s.ready { // nor is there a need for memory
		c.Stream.DynamicCast(dst, dstT, x, h.memory.Pow2)
		return
	}
	h.mustHaveMemory(k)
	if c.Mode == nn.Eval {
		c.Stream.RecordCast(dst, dstT, x, s.given, nil)
		return
	}
	k.mustBeSynced()
	if c.Mode == nn.Recomputation {
		c.Stream.RecordCast(dst, dstT, x, s.given, nil)
		return
	}
	if !s.ready && h.recipe.Config.EnableAmaxInit {
		agree(c.Stream, c.Pool, h.group, s.given, []tensor.Operand{x}, []dtype.Type{h.recipe.Cast[role].Format}, h.memory.Pow2)
		s.ready = true
	}
	c.Stream.RecordCast(dst, dstT, x, s.given, s.record)
	h.states++
	s.recorded, s.before, s.state = true, s.state, h.states
}

// delayedPack is Wire.Pack of a weight whose scale is delayed. What travels to be
// evaluated is not recorded, and before there is a scale it is cast by its own.
func (k *site) delayedPack(on device.Stream, pool *device.Pool, g comm.Comm, p *comm.Parcel, shard *tensor.Tensor) {
	h, s := k.histories, k.slot(nn.Weight)
	h.mustHaveMemory(k)
	ofItsOwn := func(to tensor.Operand) tensor.Operand {
		agree(on, pool, g, to, []tensor.Operand{{Tensor: k.weight.Local()}}, []dtype.Type{h.recipe.Cast[nn.Weight].Format}, h.memory.Pow2)
		return to
	}
	given, record := s.given, s.record
	switch {
	case !p.Eval:
		k.mustBeSynced()
		if !s.ready && h.recipe.Config.EnableAmaxInit {
			given, s.ready = ofItsOwn(s.given), true
		}
		s.recorded = true
	case s.ready:
		record = nil
	default:
		if s.own.Scale == nil {
			s.own = tensor.Operand{Scale: pool.Lasting().New(dtype.Float32), Inv: pool.Lasting().New(dtype.Float32)}
		}
		given, record = ofItsOwn(s.own), nil
	}
	src, q := tensor.Operand{Tensor: shard}, given
	p.Scale, p.Inv, q.Tensor = q.Scale, q.Inv, p.Ship[0]
	on.RecordCast(q, tensor.Operand{}, src, given, record)
	k.watch.measure(on, nn.Weight, src, q, tensor.Operand{})
}

func (h *histories) mustHaveMemory(k *site) {
	if h.group == nil {
		panic(fmt.Sprintf("float8: %s: delayed scaling has no memory: call Scales.Allocate once the model is sharded (parallel.Model does)", k.fqn))
	}
}

// mustBeSynced finds a sync that was forgotten: the optimizer has moved the weight since
// the first cast after the last sync.
func (k *site) mustBeSynced() {
	version := k.weight.Version() + 1
	if k.casts == 0 {
		k.casts = version
	}
	if k.casts != version && k.recipe.Config.EnablePreAndPostForward {
		panic(fmt.Sprintf("float8: %s: delayed scaling was not synced before the optimizer's step; call SyncFloat8AmaxAndScaleHistory between backward and the step", k.fqn))
	}
}

// sharesScale reports whether k's slot and other's have one scale, and one record but
// for the cast that other has just made.
func (k *site) sharesScale(other *site, role nn.Role) bool {
	if k.histories != other.histories {
		return false
	}
	s, o := k.slot(role), other.slot(role)
	return s.state == o.state || s.state == o.before
}

// Took counts a cast that by has made of a common input as k's own.
func (k *site) Took(c *nn.Ctx, by nn.Caster, now, later nn.Role) {
	delayed := k.recipe.Cast[now].Type == Delayed || later != nn.NoRole && k.recipe.Cast[later].Type == Delayed
	if !delayed || !c.Mode.Counts() {
		return
	}
	k.mustBeSynced()
	s, o := k.slot(now), by.(*site).slot(now)
	if s.state == o.state {
		return
	}
	c.Stream.Copy(s.record, o.record)
	if !s.ready && o.ready {
		c.Stream.Copy(s.given.Scale, o.given.Scale)
		c.Stream.Copy(s.given.Inv, o.given.Inv)
	}
	s.ready, s.recorded, s.before, s.state = o.ready, true, s.state, o.state
}

// sync makes the next scales of what all ranks have recorded, by one all-reduce of the
// records' bits, whose order as int32 is that of values with NaN above all.
func (h *histories) sync(on device.Stream) {
	r := h.memory.Record
	h.group.AllReduce(on, comm.T(tensor.At(r.Buf, r.Off, dtype.Int32, r.Shape...)), comm.Max)
	on.SyncHistories(h.memory)
	for i := range h.slots {
		s := &h.slots[i]
		s.before = s.state // who lacks the last record has another scale from here on
		if s.recorded {
			s.ready, s.recorded = true, false
		}
	}
	for _, k := range h.sites {
		k.casts = 0
	}
}

// notFinite names the slots whose count has grown beyond what was told before.
func (h *histories) notFinite(counts []int32) (names []string) {
	for i, n := range counts {
		if n > h.counts[i] {
			names = append(names, fmt.Sprintf("%s (%s)", h.sites[i%len(h.sites)].fqn, kinds[i/len(h.sites)]))
			h.counts[i] = n
		}
	}
	return names
}
