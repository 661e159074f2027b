// SPDX-License-Identifier: Apache-2.0

package fp8

import (
	"slices"

	"octet/comm"
	"octet/device"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// scales are those of all weights of a model that travel as float8, made at
// conversion. All ranks cast a shard with one scale, that of the whole weight,
// so what is gathered equals the cast of the whole.
type scales struct {
	sites    []*site
	versions []uint64 // of the weight that each scale was made for, plus one

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

// agree makes the scales of sites lo to hi-1: the amax of each local shard, one
// all-reduce of them all over g, and the scale of each. It is the one way to
// make a weight's scale. Amaxes travel as their bit patterns: for floats that
// are not negative the order of int32 is the order of values, with NaN above
// all, so that the maximum is exact and keeps NaN.
func (l *scales) agree(s device.Stream, pool *device.Pool, g comm.Comm, lo, hi int) {
	if l.scale == nil {
		l.allocate(pool)
	}
	shards := make([]*tensor.Tensor, hi-lo)
	formats := make([]dtype.Type, hi-lo)
	for i := range shards {
		k := l.sites[lo+i]
		shards[i], formats[i] = k.weight.Local(), k.recipe.Cast[nn.Weight].Format
		l.versions[lo+i] = k.weight.Version() + 1
	}
	amax := pool.New(dtype.Float32, hi-lo)
	s.Amax(amax, shards)
	g.AllReduce(s, comm.T(tensor.At(amax.Buf, amax.Off, dtype.Int32, amax.Shape...)), comm.Max)
	s.Scales(l.scale.Rows(lo, hi), l.inv.Rows(lo, hi), amax, formats, l.sites[lo].recipe.Config.RoundScalesToPowerOf2)
	pool.Free(amax)
}

// Scales are those of a model's weights that travel as float8.
type Scales []*scales // one for each conversion

// ScalesOf finds them.
func ScalesOf(m nn.Module) (all Scales) {
	for _, p := range nn.Parameters(m) {
		if w, ok := p.Wire.(*Wire); ok && !slices.Contains(all, w.site.scales) {
			all = append(all, w.site.scales)
		}
	}
	return all
}

// PrecomputeFloat8DynamicScaleForFSDP makes all scales with one all-reduce over
// g, of one word a weight, on s, the stream on which weights are packed, and in
// memory of its pool (it is what fsdp.FSDP.BeforeGathers calls). Do it on all
// ranks after every write to the parameters (the optimizer's step,
// initialisation, loading): the next all-gathers then need no collective for
// their scales. A model that was converted in several calls needs one all-reduce
// for each.
func (all Scales) PrecomputeFloat8DynamicScaleForFSDP(s device.Stream, pool *device.Pool, g comm.Comm) {
	for _, l := range all {
		l.agree(s, pool, g, 0, len(l.sites))
	}
}
