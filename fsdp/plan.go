// SPDX-License-Identifier: Apache-2.0

package fsdp

import (
	"fmt"
	"slices"
	"strings"

	"octet/dtensor"
	"octet/dtype"
	"octet/nn"
)

// Traffic is what a rank contributes to the collectives of one microbatch, in
// bytes by element type: its shards to all-gathers, its whole gradients to
// reduce-scatters.
type Traffic struct {
	Gathers, Reductions int
	AllGather           map[dtype.Type]int
	ReduceScatter       int
	AllReduce           int // between replicas, in the last microbatch of a step
}

// Traffic counts it from the layout, without running anything.
func (f *FSDP) Traffic() Traffic {
	t := Traffic{AllGather: map[dtype.Type]int{}}
	size := f.gather.Size()
	for _, u := range f.units {
		times := 2
		if !u.reshardsAfterForward() {
			times = 1
		}
		t.Gathers += times
		if slices.ContainsFunc(u.params, func(p *nn.Param) bool { return !p.Frozen() }) {
			t.Reductions++
		}
		for _, p := range u.params {
			shard := wholeShape(p.Shape, 1)
			shard[0] = dtensor.Padded(p.Shape[0], size)
			for _, spec := range p.Wire.Sends(shard) {
				t.AllGather[spec.Type] += times * spec.Bytes()
			}
			if !p.Frozen() {
				bytes := shard[0] * p.RowSize() * dtype.Float32.Size()
				t.ReduceScatter += size * bytes
				if f.replicas != nil {
					t.AllReduce += bytes
				}
			}
		}
	}
	return t
}

// travels lists the types in which a parameter is gathered.
func travels(p *nn.Param) string {
	var types []string
	for _, spec := range p.Wire.Sends(p.Shape) {
		types = append(types, spec.Type.String())
	}
	return strings.Join(types, " and ")
}

// Plan is a table of what is sharded how and what a microbatch sends.
func (f *FSDP) Plan() string {
	var b strings.Builder
	for _, u := range f.units {
		after := "kept after forward"
		if u.reshardsAfterForward() {
			after = "freed after forward"
		}
		fmt.Fprintf(&b, "unit %s, %s\n", named(u.name), after)
		for _, p := range u.params {
			frozen := ""
			if p.Frozen() {
				frozen = ", frozen"
			}
			fmt.Fprintf(&b, "  %-34s %-13s %s, travels as %s%s\n", p.Name, fmt.Sprint(p.WholeShape()), f.where(p), travels(p), frozen)
		}
	}
	t := f.Traffic()
	var types []dtype.Type
	for k := range t.AllGather {
		types = append(types, k)
	}
	slices.Sort(types)
	fmt.Fprintf(&b, "each rank sends per microbatch: %d all-gathers", t.Gathers)
	for _, k := range types {
		fmt.Fprintf(&b, ", %d bytes of %v", t.AllGather[k], k)
	}
	fmt.Fprintf(&b, "; %d reduce-scatters, %d bytes of %v\n", t.Reductions, t.ReduceScatter, dtype.Float32)
	if f.replicas != nil {
		fmt.Fprintf(&b, "and once a step: %d all-reduces between replicas, %d bytes of %v\n", t.Reductions, t.AllReduce, dtype.Float32)
	}
	return b.String()
}

// where says what part of a parameter this rank has.
func (f *FSDP) where(p *nn.Param) string {
	rank := f.grid.World.Rank()
	if axes := f.grid.Mesh.Axes(); len(axes) == 1 {
		start, rows := dtensor.Chunk(p.Shape[0], axes[0].Size, rank)
		return fmt.Sprintf("Shard(0) over %d ranks, rank %d: rows %d:%d of %d", axes[0].Size, rank, start, start+rows, p.Shape[0])
	}
	layout := f.layout(p)
	return fmt.Sprintf("%v, rank %d: %v", layout, rank, layout.Box(rank))
}
