// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"

	"octet/comm/record"
	"octet/device/null"
	"octet/dtensor"
	"octet/fp8"
	"octet/fsdp"
	"octet/nn"
	"octet/parallel"
)

// dry runs two steps, and a batch of validation, as the given rank of a job on a device that
// computes nothing, in a group where nobody else is. What the second step asks of its
// communicators is in sent.
func (r *Run) dry(rank int) (m *parallel.Model, memory Memory, sent sent, err error) {
	dev, log := null.Open(null.Options{}), &record.Log{Keep: true}
	t, err := r.trial(rank, dev, log)
	if err != nil {
		return nil, memory, sent, err
	}
	memory.State = dev.Allocated()
	if r.Config.Debug.Float8Stats {
		fp8.NewWatch(t.Root()).Begin(t.Ctx())
	}
	microbatches := r.Config.Microbatches(r.Ranks)
	t.take(microbatches)
	for range 2 { // the first step makes delayed scales, too
		log.Take()
		sent = nil
		took := func(times int) { sent.add(log.Take(), times) }
		// Of more than three microbatches those between the first and the last are alike, as
		// steps are.
		if err := t.step(min(3, microbatches), func(i int) {
			switch i { // of the microbatch before
			case 1:
				took(1)
			case 2:
				took(microbatches - 2)
			}
		}); err != nil {
			return nil, memory, sent, err
		}
		took(1)
	}
	if r.Config.Device.CUDAGraph { // beside which all else takes memory of its own
		t.Reserve()
		if r.Config.Debug.Float8Stats {
			if err := t.step(min(3, microbatches), func(int) {}); err != nil {
				return nil, memory, sent, err
			}
		}
	}
	if v := r.Config.Validation; v.Enable {
		b := t.batch(v.LocalBatchSize, v.SeqLen)
		if _, err := t.Eval(1, func(c *nn.Ctx, _ int) (int, error) {
			t.loss(c, b)
			return 1, nil
		}); err != nil {
			return nil, memory, sent, err
		}
	}
	memory.Activations, memory.Units = t.Peak()
	memory.Total = dev.Allocated()
	return t.Model, memory, sent, nil
}

// Class is the ranks of a job that have parts of equal sizes, so that they take and send alike.
type Class struct {
	Ranks  int // how many
	First  int // the first of them
	Memory Memory
	Sent   []Sent
}

// Dry is what a job would take and send, without a device or a peer.
type Dry struct {
	Mesh    dtensor.Mesh
	Plan    string // the whole table, as the first rank has it
	Classes []Class
}

// DryRun builds the model as one rank of each class, and runs a step of it that computes nothing.
func (r *Run) DryRun() (Dry, error) {
	m, memory, sent, err := r.dry(0)
	if err != nil {
		return Dry{}, err
	}
	mesh, err := r.Plan.Degrees.Mesh(r.Ranks)
	if err != nil {
		return Dry{}, err
	}
	d := Dry{Mesh: mesh, Plan: m.Plan(), Classes: classes(mesh, m.Params())}
	for i := range d.Classes {
		c := &d.Classes[i]
		if c.First > 0 {
			if _, memory, sent, err = r.dry(c.First); err != nil {
				return Dry{}, fmt.Errorf("rank %d: %w", c.First, err)
			}
		}
		c.Memory, c.Sent = memory, sent
	}
	return d, nil
}

// classes sorts the ranks by what their modules compute with of each parameter, and by what they have of it, with the
// rows that fill a shard up: so much of it each of them stores, gathers and reduces.
func classes(mesh dtensor.Mesh, params []*nn.Param) (all []Class) {
	var layouts, gathered []dtensor.Layout
	for _, p := range params { // most layers are alike
		if l := p.Layout(mesh); !slices.ContainsFunc(layouts, l.Equal) {
			layouts = append(layouts, l)
			whole := dtensor.NewLayout(mesh, l.Shape())
			for _, a := range mesh.Axes() {
				if a.Name != fsdp.Axis {
					whole = whole.Place(a.Name, l.Placement(a.Name))
				}
			}
			gathered = append(gathered, whole)
		}
	}
	found := map[string]int{}
	for rank := range len(mesh.Ranks()) {
		var key []byte
		for i, l := range layouts {
			_, sizes := gathered[i].Local(rank)
			key = fmt.Append(key, l.PaddedLocal(rank, fsdp.Axis), sizes)
		}
		at, ok := found[string(key)]
		if !ok {
			at = len(all)
			found[string(key)] = at
			all = append(all, Class{First: rank})
		}
		all[at].Ranks++
	}
	return all
}

// String has a paragraph for each class.
func (d Dry) String() string {
	var b strings.Builder
	for _, c := range d.Classes {
		like := "each of them"
		if len(d.Classes) > 1 {
			like = fmt.Sprintf("%d like rank %d", c.Ranks, c.First)
		}
		fmt.Fprintf(&b, "ranks   %d, %v, %s\n", len(d.Mesh.Ranks()), d.Mesh, like)
		fmt.Fprintf(&b, "memory  %d bytes at most (%.1f GiB): %v\n", c.Memory.Total, float64(c.Memory.Total)/(1<<30), c.Memory)
		b.WriteString(listed(c.Sent))
	}
	return b.String()
}
