// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"

	"octet/comm"
	"octet/comm/record"
	"octet/device/null"
	"octet/dtensor"
	"octet/nn"
)

// Block is a layer of the model, spread over ranks: where its parameters are, and what the ranks send one another while it runs.
type Block struct {
	Name     string
	Mesh     dtensor.Mesh
	Params   []Spread
	Forward  []record.Call // of rank 0
	Backward []record.Call
}

// Spread is a parameter and how it lies.
type Spread struct {
	Name string // within the block
	dtensor.Layout
}

// Block is one from the middle of the model, so that what is gathered ahead for the next block stands for what was gathered for this one by the block before. It
// wants three layers at least; nothing is computed.
func (r *Run) Block() (Block, error) {
	if r.Args.Layers < 3 {
		return Block{}, fmt.Errorf("model.args.n_layers = %d: a block that has one before it and one behind needs 3 at least", r.Args.Layers)
	}
	dev, log := null.Open(null.Options{}), &record.Log{Keep: true}
	t, err := r.trial(0, dev, log)
	if err != nil {
		return Block{}, err
	}
	b := Block{Name: fmt.Sprintf("layers.%d", r.Args.Layers/2)}
	if b.Mesh, err = r.Plan.Degrees.Mesh(r.Ranks); err != nil {
		return Block{}, err
	}
	root, noted := t.Root(), &noted{log: log}
	_ = nn.Walk(&root, func(path string, at nn.Module) (nn.Module, error) { // never fails
		if path == b.Name {
			noted.inner = at
			return noted, nil
		}
		return at, nil
	})
	for _, p := range t.Params() {
		if name, ok := strings.CutPrefix(p.Name, b.Name+"."); ok {
			b.Params = append(b.Params, Spread{name, p.Layout(b.Mesh)})
		}
	}
	t.take(1)
	for range 2 { // the first step makes delayed scales, and learns the order of the units
		if err := t.step(1, func(int) {}); err != nil {
			return Block{}, err
		}
	}
	b.Forward, b.Backward = b.named(noted.forward), b.named(noted.backward)
	return b, nil
}

// named gives calls of the group of all ranks the name of the axis that these are, if there is one.
func (b Block) named(calls []record.Call) []record.Call {
	for _, a := range b.Mesh.Axes() {
		for i := range calls {
			if calls[i].Group == "world" && calls[i].Ranks == a.Size {
				calls[i].Group = a.Name
			}
		}
	}
	return calls
}

// noted is a module around which calls are noted.
type noted struct {
	nn.Leaf
	nn.NoParams
	inner             nn.Module
	log               *record.Log
	forward, backward []record.Call
}

var _ nn.Decorator = (*noted)(nil)

// Inner is the module.
func (n *noted) Inner() *nn.Module { return &n.inner }

// Forward is the module's: what it defers comes between what this does.
func (n *noted) Forward(c *nn.Ctx, x *nn.Var) *nn.Var {
	c.Tape.Defer(func() { n.backward = n.log.Take() })
	n.log.Take()
	y := n.inner.Forward(c, x)
	n.forward = n.log.Take()
	c.Tape.Defer(func() { n.log.Take() })
	return y
}

// String has a line for each parameter, with the box that each rank has, and one for each collective.
func (b Block) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s over %v\n", b.Name, b.Mesh)
	for _, p := range b.Params {
		fmt.Fprintf(&s, "  %-24s %v", p.Name, p.Shape())
		for _, part := range p.Parts() {
			fmt.Fprintf(&s, "  %s: %v", comm.List(part.Ranks), part.Box)
		}
		s.WriteByte('\n')
	}
	for _, pass := range []struct {
		name  string
		calls []record.Call
	}{{"forward", b.Forward}, {"backward", b.Backward}} {
		fmt.Fprintf(&s, "%s\n", pass.name)
		for _, line := range Lines(pass.calls) {
			fmt.Fprintf(&s, "  %s\n", line)
		}
	}
	return s.String()
}

// Part is a box of a parameter, and the ranks that have it.
type Part struct {
	dtensor.Box
	Ranks []int
}

// Parts are those of all ranks, in the order of the first of them; ranks whose box is empty have none.
func (p Spread) Parts() (all []Part) {
	for _, rank := range p.Mesh().Ranks() {
		box := p.Box(rank)
		if box.Numel() == 0 {
			continue
		}
		at := slices.IndexFunc(all, func(o Part) bool { return o.Equal(box) })
		if at < 0 {
			at = len(all)
			all = append(all, Part{Box: box})
		}
		all[at].Ranks = append(all[at].Ranks, rank)
	}
	return all
}

// Lines are the calls by group, kind, types and bytes of a rank, "all-gather of bfloat16, float8_e4m3fn (fsdp), 24832 bytes"; those that follow one another and are alike are
// one. What is asked of a rank that is alone in its group is left out.
func Lines(calls []record.Call) (lines []string) {
	times := 0
	for _, c := range calls {
		if c.Ranks == 1 {
			continue
		}
		var types []string
		for _, p := range c.Parts {
			if name := p.Type.String(); !slices.Contains(types, name) {
				types = append(types, name)
			}
		}
		line := fmt.Sprintf("%v of %s (%s), %d bytes", c.Kind, strings.Join(types, ", "), c.Group, c.Bytes())
		if times > 0 && strings.TrimPrefix(lines[len(lines)-1], fmt.Sprintf("%d × ", times)) == line {
			times++
			lines[len(lines)-1] = fmt.Sprintf("%d × %s", times, line)
			continue
		}
		lines, times = append(lines, line), 1
	}
	return lines
}
