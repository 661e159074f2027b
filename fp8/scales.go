// SPDX-License-Identifier: Apache-2.0

package fp8

import (
	"fmt"
	"slices"

	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// scales are those of all weights of a model that travel as float8 with dynamic scaling,
// made at conversion. All ranks cast a shard with one scale, that of the whole weight,
// so what is gathered equals the cast of the whole.
type scales struct {
	sites    []*site
	versions []uint64 // of the weight that each scale was made for, plus one

	precomputed bool   // ever
	stale       string // the first scale that was not although others were; told once
	told        bool

	// One block each, so that one kernel writes all: float32 [len(sites)]; and
	// the views of its numbers, float32 [].
	scale, inv *tensor.Tensor
	views      []tensor.Operand
}

// join gives the weight of k a scale.
func (l *scales) join(k *site) {
	k.scales, k.index = l, len(l.sites)
	l.sites = append(l.sites, k)
	l.versions = append(l.versions, 0)
}

// allocate makes the memory.
func (l *scales) allocate(pool *device.Pool) {
	n := len(l.sites)
	l.scale, l.inv = pool.Lasting().New(dtype.Float32, n), pool.Lasting().New(dtype.Float32, n)
	for i := range n {
		l.views = append(l.views, tensor.Operand{Scale: l.scale.Rows(i, i+1).View(), Inv: l.inv.Rows(i, i+1).View()})
	}
}

// fresh reports whether the scale of site i was made for the weight's present
// values. Every write to a weight happens on all ranks, so all of them agree.
func (l *scales) fresh(i int) bool { return l.versions[i] == l.sites[i].weight.Version()+1 }

// renew makes the scale of site i where it is not fresh.
func (l *scales) renew(s device.Stream, pool *device.Pool, g comm.Comm, i int) {
	if l.fresh(i) {
		return
	}
	if k := l.sites[i]; l.precomputed && l.stale == "" {
		l.stale = fmt.Sprintf("%s: its scale is of write %d to the weight, which has had %d", k.fqn, l.versions[i]-1, k.weight.Version())
	}
	l.make(s, pool, g, i, i+1)
}

// make makes the scales of sites lo to hi-1.
func (l *scales) make(s device.Stream, pool *device.Pool, g comm.Comm, lo, hi int) {
	if l.scale == nil {
		l.allocate(pool)
	}
	shards := make([]tensor.Operand, hi-lo)
	formats := make([]dtype.Type, hi-lo)
	for i := range shards {
		k := l.sites[lo+i]
		shards[i].Tensor, formats[i] = k.weight.Local(), k.recipe.Cast[nn.Weight].Format
		l.versions[lo+i] = k.weight.Version() + 1
	}
	agree(s, pool, g, tensor.Operand{Scale: l.scale.Rows(lo, hi), Inv: l.inv.Rows(lo, hi)}, shards, formats, l.sites[lo].recipe.Config.RoundScalesToPowerOf2)
}

// agree makes scales and their reciprocals, [n] or one [], of n tensors of which each
// rank of g has a part: the amax of each part, one all-reduce of them all, and the scale
// of each. It is the one way to a dynamic scale that ranks share. Amaxes travel as their
// bit patterns: for floats that are not negative the order of int32 is the order of
// values, with NaN above all, so that the maximum is exact and keeps NaN.
func agree(s device.Stream, pool *device.Pool, g comm.Comm, to tensor.Operand, parts []tensor.Operand, formats []dtype.Type, pow2 bool) {
	amax := agreedAmax(s, pool, g, parts)
	s.Scales(to.Scale, to.Inv, amax, formats, pow2)
	pool.Free(amax)
}

// agreedAmax is float32 [n], from pool. Parts whose own amaxes are known are not read.
func agreedAmax(s device.Stream, pool *device.Pool, g comm.Comm, parts []tensor.Operand) *tensor.Tensor {
	amax := pool.New(dtype.Float32, len(parts))
	if slices.ContainsFunc(parts, func(o tensor.Operand) bool { return o.Amax == nil }) {
		all := make([]*tensor.Tensor, len(parts))
		for i, o := range parts {
			all[i] = o.Tensor
		}
		s.Amax(amax, all)
	} else {
		for i, o := range parts {
			s.Copy(amax.Rows(i, i+1), o.Amax)
		}
	}
	g.AllReduce(s, comm.T(tensor.At(amax.Buf, amax.Off, dtype.Int32, amax.Shape...)), comm.Max)
	return amax
}

// Scales are a model's scales that last longer than a cast: of weights that travel as
// float8, and delayed ones.
type Scales struct {
	weights []*scales // one for each conversion
	delayed []*histories
}

// ScalesOf finds them.
func ScalesOf(m nn.Module) (all Scales) {
	add := func(k *site) {
		if k.scales != nil && !slices.Contains(all.weights, k.scales) {
			all.weights = append(all.weights, k.scales)
		}
		if k.histories != nil && !slices.Contains(all.delayed, k.histories) {
			all.delayed = append(all.delayed, k.histories)
		}
	}
	for _, p := range nn.Parameters(m) {
		if w, ok := p.Wire.(*Wire); ok {
			add(w.site)
		}
	}
	for _, l := range Linears(m) {
		if k, ok := l.Linear.Caster.(*site); ok {
			add(k)
		}
	}
	return all
}

// Allocate makes the memory of delayed scales, which lasts as long as c's pool, and gives
// them the group of all ranks that hold the model's layers, for collectives on c's
// stream. Other scales need none of it. parallel.Model does it.
func (all Scales) Allocate(c *nn.Ctx, g comm.Comm) {
	for _, h := range all.delayed {
		h.allocate(c, g)
	}
}

// PrecomputeFloat8DynamicScaleForFSDP makes the dynamic scales of all weights that travel
// as float8 with one all-reduce over
// g, of one word a weight, on s, the stream on which weights are packed, and in
// memory of its pool (it is what fsdp.FSDP.BeforeGathers calls). Do it on all
// ranks after every write to the parameters (the optimizer's step,
// initialisation, loading): the next all-gathers then need no collective for
// their scales. A model that was converted in several calls needs one all-reduce
// for each.
func (all Scales) PrecomputeFloat8DynamicScaleForFSDP(s device.Stream, pool *device.Pool, g comm.Comm) {
	for _, l := range all.weights {
		l.make(s, pool, g, 0, len(l.sites))
		l.precomputed = true
	}
}

// Expire has every weight that travels as float8 without a precomputed scale get its scale anew at its next
// gather, although it may have one: for passes that are launched again when the weights have moved.
func (all Scales) Expire() {
	for _, l := range all.weights {
		if !l.precomputed {
			clear(l.versions)
		}
	}
}

// Stale says of the first weight that was sent without a precomputed scale, although
// scales are precomputed, that it was written to since; once, and then nothing. The scale
// was made anew, by a collective of its own.
func (all Scales) Stale() string {
	for _, l := range all.weights {
		if l.stale != "" && !l.told {
			l.told = true
			return l.stale
		}
	}
	return ""
}

// SyncFloat8AmaxAndScaleHistory makes the next delayed scales, of the amaxes that casts
// of all ranks have recorded since the last sync: one all-reduce of three words a Linear
// and one kernel, on c's stream. It comes after the backward of a step's last microbatch
// (and after fsdp.FSDP.Finish) and before the optimizer's step. A slot that nothing
// recorded stays as it is. A model without delayed casts needs none.
func (all Scales) SyncFloat8AmaxAndScaleHistory(c *nn.Ctx) {
	for _, h := range all.delayed {
		h.sync(c.Stream)
	}
}

// NotFinite enqueues on s a reading of which delayed casts have met a value that is not
// finite, as the syncs so far have found, and returns what names those not told before,
// once the stream has come so far. Of a delayed cast an infinite value is not seen
// otherwise: its scale is given, so that it becomes the format's largest.
func (all Scales) NotFinite(s device.Stream) (names func() []string) {
	if len(all.delayed) == 0 { // without a closure in every step
		return func() []string { return nil }
	}
	counts := make([][]int32, len(all.delayed))
	for i, h := range all.delayed {
		counts[i] = make([]int32, len(h.slots))
		s.Download(device.Int32Bytes(counts[i]), h.memory.NotFinite)
	}
	return func() (names []string) {
		for i, h := range all.delayed {
			names = append(names, h.notFinite(counts[i])...)
		}
		return names
	}
}
